// What the check found: faults first, each with the setting or command that mends it.
// props: {
//   findings: [{ name, state: 'ok' | 'missing' | 'fault', text }],
//   counts: how many there are of each state
// }
import { Check, Minus, X } from 'lucide-react';

const STATES = {
  ok: { Icon: Check, said: 'works' },
  missing: { Icon: Minus, said: 'missing, not needed' },
  fault: { Icon: X, said: 'at fault' }
};
// What can be typed or set, so that the eye finds it.
const TYPED = /((?:RAG|SSL|OTEL|MODEL)_[A-Z_]+(?:=[^\s.,;]+)?|make setup|https?:\/\/[^\s,;)]*[^\s,;:.)])/g;

export default function CheckReport() {
  const findings = Array.isArray(props.findings) ? props.findings : [];
  return (
    <section className="gr gr-check" aria-label="What the check found">
      <div role="list">
        {findings.map(({ name, state, text }, place) => {
          const { Icon, said } = STATES[state] || STATES.missing;
          return (
            <div role="listitem" key={`${place} ${name}`} data-state={state}>
              <span className="gr-check-mark">
                <Icon size={14} strokeWidth={2.5} aria-hidden="true" />
                <span className="gr-only">{said}: </span>
              </span>
              <span className="gr-check-name">{name}</span>
              <span className="gr-check-text" dir="auto">
                {String(text).split(TYPED).map((part, at) => (at % 2 ? <code key={at}>{part}</code> : part))}
              </span>
            </div>
          );
        })}
      </div>
    </section>
  );
}
