// The sources of an answer as chips; a chip opens its source beside the chat.
// props: { sources: [{ id, document, heading, quote, score, before, after }], unsupported: number }
import { useState } from 'react';
import { useRecoilState } from 'recoil';
import { TriangleAlert } from 'lucide-react';
import { sideViewState } from '@chainlit/react-client';

// One id for each set of sources, kept over Chainlit's re-evaluations of this file.
const keys = (window.groundedKeys = window.groundedKeys || new WeakMap());

const lastPart = (text, separator) => String(text || '').split(separator).map((part) => part.trim()).filter(Boolean).pop() || '';
const fileName = (source) => lastPart(source.document, '/') || 'document';
const section = (source) => lastPart(source.heading, /\s*[›>]\s+/);

export default function Sources() {
  const [sideView, setSideView] = useRecoilState(sideViewState);
  const [key] = useState(() => {
    if (!keys.has(props)) keys.set(props, Math.random().toString(36).slice(2));
    return keys.get(props);
  });
  const sources = Array.isArray(props.sources) ? props.sources : [];
  const unsupported = Number(props.unsupported) || 0;
  if (!sources.length && unsupported < 1) return null;

  const elementId = (source) => `source-${key}-${source.id}`;
  const isShown = (source) => Boolean(sideView && (sideView.elements || []).some((e) => e.id === elementId(source)));

  // All on the client: it needs no server, so it works after a reconnect and in old threads too.
  const show = (source) => {
    if (isShown(source)) {
      setSideView(undefined);
      return;
    }
    setSideView({
      title: `[${source.id}] ${fileName(source)}`,
      elements: [
        { type: 'custom', name: 'SourceView', id: elementId(source), display: 'side', props: source }
      ]
    });
  };

  return (
    <div className="gr gr-sources">
      {sources.length ? (
        <ul className="gr-chips" aria-label="Sources of this answer">
          {sources.map((source) => (
            <li key={source.id}>
              <button
                type="button"
                className="gr-chip"
                aria-pressed={isShown(source)}
                aria-label={`Source ${source.id}: ${[source.document, source.heading].filter(Boolean).join(', ')}`}
                title={[source.document, source.heading].filter(Boolean).join(' › ')}
                onClick={() => show(source)}
              >
                <b>[{source.id}]</b>
                <span className="gr-where" dir="auto">
                  {fileName(source)}
                  {section(source) ? <span className="gr-quiet"> › {section(source)}</span> : null}
                </span>
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
