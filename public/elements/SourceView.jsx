// One source beside the chat: the quoted sentence, marked, in its surroundings. Always plain text.
// props: { id, document, page, also, heading, quote, score, before, after, own, since: "changed" | "removed" }
import { useEffect, useRef } from 'react';
import { FileText, History, Paperclip } from 'lucide-react';

// Scrolled to once for each source, although Chainlit may draw this file again.
const scrolled = (window.groundedScrolled = window.groundedScrolled || new WeakSet());

// Scrolls the panel alone. scrollIntoView would also move the chat behind it.
function centre(node) {
  for (let box = node.parentElement; box; box = box.parentElement) {
    const overflow = getComputedStyle(box).overflowY;
    if ((overflow === 'auto' || overflow === 'scroll') && box.scrollHeight > box.clientHeight) {
      const from = node.getBoundingClientRect();
      const within = box.getBoundingClientRect();
      if (from.top >= within.top && from.bottom <= within.top + box.clientHeight * 0.8) return;
      const room = Math.max(72, (box.clientHeight - from.height) / 3);
      box.scrollTop += from.top - within.top - room;
      return;
    }
  }
}

export default function SourceView() {
  const quote = useRef(null);
  const source = props;
  const score = Number(source.score);
  const also = Array.isArray(source.also) ? source.also : [];
  const Icon = source.own ? Paperclip : FileText;
  const name = source.own ? String(source.document).split('/').pop() : source.document;

  useEffect(() => {
    if (!quote.current || scrolled.has(source)) return undefined;
    const frame = requestAnimationFrame(() => {
      scrolled.add(source);
      centre(quote.current);
    });
    return () => cancelAnimationFrame(frame);
  }, []);

  return (
    <article className="gr gr-source">
      <header>
        <div className="gr-source-name">
          <Icon size={15} aria-hidden="true" />
          <span>
            <bdi>{name || 'Document'}</bdi>
            {source.page ? <span className="gr-quiet">, p.&nbsp;{source.page}</span> : null}
          </span>
        </div>
        {source.heading ? <div className="gr-source-path" dir="auto">{source.heading}</div> : null}
        {source.own ? <div className="gr-source-path">Your own file, in this conversation only</div> : null}
        {also.length ? <div className="gr-source-path">Also in {also.join(', ')}</div> : null}
        {source.since ? (
          <p className="gr-source-since" role="note">
            <History size={15} aria-hidden="true" />
            <span>
              {source.since === 'removed'
                ? 'This document is gone since this answer. This is what it said.'
                : 'This document has changed since this answer. This is what it said.'}
            </span>
          </p>
        ) : null}
      </header>
      <blockquote className="gr-source-text" dir="auto">
        {source.before || ''}
        <mark ref={quote}>{source.quote || ''}</mark>
        {source.after || ''}
      </blockquote>
      {source.score != null && Number.isFinite(score) ? (
        <footer title="BM25: how well the words of the question match this passage. Comparable within one question only.">
          Match with your question: {score.toFixed(1)}
        </footer>
      ) : null}
    </article>
  );
}
