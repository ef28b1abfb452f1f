// What a model thought before it answered, folded away; it is no part of the answer, and shown as plain text.
// props: { text, ms, tokens, model }
import { useId, useState } from 'react';
import { ChevronDown } from 'lucide-react';

// Chainlit evaluates this file again whenever the chat changes state; what is open is kept beside it.
const opened = (window.groundedOpened = window.groundedOpened || new WeakMap());

const number = (value) => (value === null || value === undefined || !Number.isFinite(Number(value)) ? null : Number(value));

function time(ms) {
  if (ms >= 9995) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms >= 9.95 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

export default function Reasoning() {
  const [open, setOpen] = useState(opened.get(props) || false);
  const id = useId();
  const text = String(props.text || '').trim();
  const model = String(props.model || '') || 'the model';
  const [ms, tokens] = [number(props.ms), number(props.tokens)];
  if (!text) return null;

  const toggle = () => {
    opened.set(props, !open);
    setOpen(!open);
  };

  return (
    <div className="gr gr-reasoning" role="note">
      <button type="button" className="gr-unfold" aria-expanded={open} aria-controls={id} onClick={toggle}>
        <span>{open ? 'Hide the reasoning' : 'Show the reasoning'}{ms ? ` (${time(ms)})` : ''}</span>
        <ChevronDown size={14} className="gr-turn" aria-hidden="true" />
      </button>
      <div id={id} hidden={!open}>
        <div className="gr-said-by">
          <b>Reasoning</b> by {model}{tokens === null ? '' : `, ${tokens} token${tokens === 1 ? '' : 's'}`}; no part of the answer, and not checked.
        </div>
        <div className="gr-draft" dir="auto" tabIndex={0} role="region" aria-label={`Reasoning by ${model}`}>{text}</div>
      </div>
    </div>
  );
}
