// Why the answer is not simply the draft, in one sentence, with the draft folded away.
// props: { kind: "escalated" | "quoted" | "refined" | "unchecked", reason, draft, draft_model, model }
import { useId, useState } from 'react';
import { ArrowUpRight, ChevronDown, CircleAlert, Quote, Sparkles } from 'lucide-react';

const ICONS = { escalating: ArrowUpRight, unfinished: ArrowUpRight, escalated: ArrowUpRight, quoted: Quote, refined: Sparkles, unchecked: CircleAlert };

// Chainlit evaluates this file again whenever the chat changes state; what is open is kept beside it.
const opened = (window.groundedOpened = window.groundedOpened || new WeakMap());

function Sentence({ kind, reason, small, large, drafted }) {
  const why = reason ? ` (${String(reason).replace(/ ([<>≤≥=]) /g, '\u00a0$1\u00a0')})` : '';
  if (kind === 'quoted') {
    return drafted
      ? <p>The draft was set aside{why}; these are the documents’ own words.</p>
      : <p>No model answered{why}; these are the documents’ own words.</p>;
  }
  if (kind === 'refined') {
    return <p><b>{large}</b> polished a draft by <b>{small}</b>{why}.</p>;
  }
  if (kind === 'unchecked') {
    return <p><b>{large}</b> could not be asked{why}; the draft stands, not double-checked.</p>;
  }
  const outcome = { escalating: 'is being asked', unfinished: 'was asked' }[kind] || 'answered';
  return <p><b>{small}</b> was not sure{why}, so <b>{large}</b> {outcome}.</p>;
}

export default function EscalationCard() {
  const [open, setOpen] = useState(opened.get(props) || false);
  const id = useId();
  const kind = ICONS[props.kind] ? props.kind : 'escalated';
  const Icon = ICONS[kind] || 'span';
  const draft = String(props.draft || '').trim();
  const small = props.draft_model || 'the small model';
  const large = props.model || 'the large model';
  const first = (name) => name.charAt(0).toUpperCase() + name.slice(1);
  const starts = { escalating: 'small', unfinished: 'small', escalated: 'small', refined: 'large', unchecked: 'large' }[kind];

  const toggle = () => {
    opened.set(props, !open);
    setOpen(!open);
  };

  return (
    <div
      className={`gr gr-note ${['escalating', 'unfinished', 'escalated', 'refined'].includes(kind) ? 'tone-large' : 'tone-other'}`}
      data-kind={kind}
      role="note"
    >
      <Icon size={16} aria-hidden="true" />
      <div>
        <Sentence
          kind={kind}
          reason={props.reason}
          drafted={Boolean(props.draft)}
          small={starts === 'small' && !props.draft_model ? first(small) : small}
          large={starts === 'large' && !props.model ? first(large) : large}
        />
        {draft ? (
          <>
            <button type="button" className="gr-unfold" aria-expanded={open} aria-controls={id} onClick={toggle}>
              <span>{open ? 'Hide the draft' : 'Show the draft'}</span>
              <ChevronDown size={14} className="gr-turn" aria-hidden="true" />
            </button>
            <div id={id} hidden={!open}>
              <div className="gr-draft" dir="auto" tabIndex={0} role="region" aria-label="The draft">{draft}</div>
            </div>
          </>
        ) : null}
      </div>
    </div>
  );
}
