// The sources of an answer as chips; a chip opens its source beside the chat.
// props: {
//   answer: the id of its message,
//   sources: [{ id, document, page, also, heading, quote, score, before, after, own, since: "changed" | "removed" }],
//   unsupported: number,
//   searched: { for, because } where the question was completed from the conversation
// }
import { useEffect } from 'react';
import { useRecoilState, useRecoilValue } from 'recoil';
import { CornerDownRight, History, Paperclip, TriangleAlert } from 'lucide-react';
import { messagesState, sideViewState } from '@chainlit/react-client';

const lastPart = (text, separator) => String(text || '').split(separator).map((part) => part.trim()).filter(Boolean).pop() || '';
const fileName = (source) => lastPart(source.document, '/') || 'document';
const section = (source) => lastPart(source.heading, /\s*[›>]\s+/);
const also = (source) => (Array.isArray(source.also) ? source.also : []);
const SINCE = { changed: 'changed since', removed: 'gone since' };

function messageOf(messages, id) {
  for (const message of messages || []) {
    const found = message.id === id ? message : messageOf(message.steps, id);
    if (found) return found;
  }
  return null;
}

// What became of a source since is in its message, not in the props: an element that is sent again would make
// Chainlit close what is open beside the chat.
function marked(source, message) {
  const known = message && message.metadata && message.metadata.sources;
  const now = Array.isArray(known) && known.find((other) => other.id === source.id);
  return now ? { ...source, since: now.since } : source;
}

const spoken = (source) => [
  source.own ? `${fileName(source)}, your own file` : source.document,
  source.page ? `page ${source.page}` : '',
  source.heading,
  also(source).length ? `also in ${also(source).join(', ')}` : '',
  SINCE[source.since]
].filter(Boolean).join(', ');

export default function Sources() {
  const [sideView, setSideView] = useRecoilState(sideViewState);
  const message = messageOf(useRecoilValue(messagesState), props.answer);
  const sources = (Array.isArray(props.sources) ? props.sources : []).map((source) => marked(source, message));
  const unsupported = Number(props.unsupported) || 0;
  const searched = props.searched && props.searched.for ? props.searched : null;

  const elementId = (source) => `source-${props.answer}-${source.id}`;
  const isShown = (source) => Boolean(sideView && (sideView.elements || []).some((e) => e.id === elementId(source)));

  const sideViewOf = (source) => ({
    title: `[${source.id}] ${fileName(source)}`,
    elements: [{ type: 'custom', name: 'SourceView', id: elementId(source), display: 'side', props: source }]
  });

  // All on the client: it needs no server, so it works after a reconnect and in old threads too.
  const show = (source) => setSideView(isShown(source) ? undefined : sideViewOf(source));

  // A source that is open beside the chat gets, or loses, its mark too.
  useEffect(() => {
    const open = sources.find(isShown);
    if (open && (sideView.elements[0].props || {}).since !== open.since) setSideView(sideViewOf(open));
  });

  if (!sources.length && unsupported < 1 && !searched) return null;

  return (
    <div className="gr gr-sources">
      {searched ? (
        <p className="gr-searched">
          <CornerDownRight size={13} aria-hidden="true" />
          <span>
            Searched with: <span dir="auto">{searched.for}</span>
            {searched.because ? <span> ({searched.because})</span> : null}
          </span>
        </p>
      ) : null}
      {sources.length ? (
        <ul className="gr-chips" aria-label="Sources of this answer">
          {sources.map((source) => (
            <li key={source.id}>
              <button
                type="button"
                className="gr-chip"
                data-since={source.since}
                aria-pressed={isShown(source)}
                aria-label={`Source ${source.id}: ${spoken(source)}`}
                title={spoken(source)}
                onClick={() => show(source)}
              >
                <b>[{source.id}]</b>
                {source.own ? <Paperclip size={12} aria-hidden="true" /> : null}
                <span className="gr-where" dir="auto">
                  {fileName(source)}
                  {source.page ? <span className="gr-quiet">, p.&nbsp;{source.page}</span> : null}
                  {section(source) ? <span className="gr-quiet"> › {section(source)}</span> : null}
                  {also(source).length ? <span className="gr-quiet"> · also in {lastPart(also(source)[0], '/')}</span> : null}
                </span>
                {SINCE[source.since] ? (
                  <span className="gr-since"><History size={12} aria-hidden="true" />{SINCE[source.since]}</span>
                ) : null}
              </button>
            </li>
          ))}
        </ul>
      ) : null}
      {unsupported > 0 ? (
        <p className="gr-warning">
          <TriangleAlert size={14} aria-hidden="true" />
          <span>
            {unsupported === 1
              ? '1 sentence has no source in the documents.'
              : `${unsupported} sentences have no source in the documents.`}
          </span>
        </p>
      ) : null}
    </div>
  );
}
