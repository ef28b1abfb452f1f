// Why the answer is or is not simply the draft, in one sentence; the draft and how it was judged are folded away.
// props: { kind: "escalated" | "quoted" | "abstained" | "refined" | "unchecked" | "kept" | …, reason, draft, final, draft_model, model,
//   confidence: { value, signal, threshold, kept_at, parts }, cost: { tokens, at_most, ms, stopped } }
import { Fragment, useId, useState } from 'react';
import { ArrowUpRight, ChevronDown, CircleAlert, CircleSlash, Quote, Sparkles } from 'lucide-react';

const ICONS = { escalating: ArrowUpRight, unfinished: ArrowUpRight, escalated: ArrowUpRight, quoted: Quote, abstained: CircleSlash, refined: Sparkles, unchecked: CircleAlert };

// The name of a signal, and what its value is.
const SIGNALS = {
  bias: ['Every draft', 'The same for every draft: where the sum starts.'],
  support: ['Support', 'The share of the draft’s new words that stand in the best evidence, 0 to 1.'],
  coverage: ['Coverage', 'The share of the question’s words that stand in the best evidence, 0 to 1.'],
  logprob: ['Sureness', 'How sure the model was of its own words: the mean log-probability of its tokens, at most 0.'],
  agreement: ['Agreement', 'The share of the best evidence’s words, without the question’s, that the draft has, 0 to 1.'],
  run: ['Word for word', 'The longest stretch of the draft that stands word for word in the best evidence, 0 to 1.'],
  echo: ['Echo', 'The longest stretch of the question that stands word for word in the best evidence, 0 to 1.'],
  distance: ['Distance', 'How far the draft’s new words are from the question’s words in the best evidence: 0 beside them.'],
  focus: ['Focus', 'The share of the evidence that is from the same place as the best, 0 to 1.'],
  negated: ['Negation', 'Whether the question has a “not”: 1 or 0.'],
  foreign_number: ['Unknown number', 'Whether the question names a number that the evidence has not: 1 or 0.'],
  foreign_name: ['Unknown name', 'Whether the question names somebody or something that the evidence has not: 1 or 0.'],
  kind: ['Kind of answer', 'Whether a question after a number or a name got one: 1, −1, or 0 where it asks for neither.'],
  yes_or_no: ['Yes or no', 'Whether the question can be answered with yes or no: 1 or 0.'],
  nothing_new: ['Nothing new', 'Whether the draft only repeats the question: 1 or 0.'],
  lead: ['Lead', 'How much better the best evidence bears on the question than the second best, 0 to 1.'],
  invented_number: ['Invented number', 'Whether the draft has a number that neither the evidence nor the question has: 1 or 0.'],
  invented_name: ['Invented name', 'Whether the draft names somebody or something that neither the evidence nor the question has: 1 or 0.'],
  hedged: ['Says nothing', 'Whether the draft says that the documents do not say: 1 or 0.'],
  repetition: ['Repetition', 'The share of the draft that it has said before, 0 to 1.'],
  length: ['Length', 'How long the draft is, 0 to 1.'],
  long_evidence: ['Long evidence', 'How long the best evidence is, 0 to 1.'],
  least_logprob: ['Least sure word', 'The lowest log-probability of a token of the draft, at most 0.'],
  first_logprob: ['First word', 'The log-probability of the draft’s first token, at most 0.'],
  margin: ['Margin', 'How far ahead of the next best the likeliest token was, on average, 0 to 5.'],
  entropy: ['Doubt', 'How undecided the model was between tokens, on average: 0 is not at all.']
};

// Chainlit evaluates this file again whenever the chat changes state; what is open is kept beside it.
const opened = (window.groundedOpened = window.groundedOpened || new WeakMap());

const number = (value) => (value === null || value === undefined || !Number.isFinite(Number(value)) ? null : Number(value));
// Rounded down, so that a confidence just below its threshold never shows as equal to it.
const share = (value) => (Math.floor(value * 100 + 1e-9) / 100).toFixed(2);
const signed = (value) => Math.abs(value) < 0.005 ? '0.00' : `${value < 0 ? '\u2212' : '+'}${Math.abs(value).toFixed(2)}`;
const plain = (value) => (value < 0 ? signed(value) : value.toFixed(2));
const joined = (text) => String(text).replace(/ ([<>≤≥=]) /g, '\u00a0$1\u00a0');
const tokens = (count) => `${count} token${count === 1 ? '' : 's'}`;

function time(ms) {
  if (ms >= 9995) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms >= 9.95 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

function Sentence({ kind, reason, small, large, drafted }) {
  const why = reason ? ` (${joined(reason)})` : '';
  if (kind === 'quoted') {
    return drafted
      ? <p>The draft was set aside{why}; these are the documents’ own words.</p>
      : <p>No model answered{why}; these are the documents’ own words.</p>;
  }
  if (kind === 'abstained') {
    return <p><b>{small}</b> found no answer{why}; these are the documents’ own words.</p>;
  }
  if (kind === 'refined') {
    return <p><b>{large}</b> polished a draft by <b>{small}</b>{why}.</p>;
  }
  if (kind === 'unchecked') {
    return <p><b>{large}</b> could not be asked{why}; the draft stands, not double-checked.</p>;
  }
  const outcome = { escalating: 'is being asked', unfinished: 'was asked' }[kind] || 'answered';
  if (!drafted) {
    return <p><b>{large}</b> {outcome} without a draft{why}.</p>;
  }
  return <p><b>{small}</b> was not sure{why}, so <b>{large}</b> {outcome}.</p>;
}

function Bar({ value, threshold }) {
  const at = (one) => `${Math.min(1, Math.max(0, one)) * 100}%`;
  const said = threshold === null ? '' : `, ${value < threshold ? 'below' : 'not below'} the threshold of ${threshold.toFixed(2)}`;
  return (
    <div className="gr-gauge" role="img" aria-label={`Confidence ${share(value)} of 1${said}`}>
      <div className="gr-gauge-bar">
        <i className={threshold !== null && value < threshold ? 'is-below' : ''} style={{ width: at(value) }} />
        {threshold === null ? null : <u style={{ left: at(threshold) }} />}
      </div>
      {threshold === null ? null : (
        <div className="gr-gauge-mark" aria-hidden="true">
          <span style={{ left: `clamp(3.25rem, ${at(threshold)}, calc(100% - 3.25rem))` }}>threshold {threshold.toFixed(2)}</span>
        </div>
      )}
    </div>
  );
}

function Parts({ parts, value }) {
  const part = (one) => one.value * one.weight;
  const total = (some) => some.reduce((all, one) => all + part(one), 0);
  // What counts most comes first; what hardly counts is one line together, but for those that everybody asks about.
  const tells = (one) => Math.abs(part(one)) >= 0.05 || ['support', 'run', 'coverage'].includes(one.name);
  const [start, others] = [parts.filter((one) => one.name === 'bias'), parts.filter((one) => one.name !== 'bias')];
  const telling = others.filter(tells).sort((one, other) => Math.abs(part(other)) - Math.abs(part(one)));
  const slight = others.filter((one) => !tells(one));
  return (
    <table>
      <caption className="gr-only">What the confidence is made of</caption>
      <thead>
        <tr>
          <th scope="col">Signal</th>
          <th scope="col">Value</th>
          <th scope="col"><span aria-hidden="true">× </span>Weight</th>
          <th scope="col"><span aria-hidden="true">= </span>Part</th>
        </tr>
      </thead>
      <tbody>
        {[...start, ...telling].map((one) => {
          const [name, meaning] = SIGNALS[one.name] || [one.name.replace(/_/g, ' '), ''];
          return (
            <Fragment key={one.name}>
              <tr data-signal={one.name}>
                <th scope="row">{name}</th>
                <td>{plain(one.value)}</td>
                <td>{plain(one.weight)}</td>
                <td>{signed(part(one))}</td>
              </tr>
              {meaning ? <tr className="is-meaning"><td colSpan={4}>{meaning}</td></tr> : null}
            </Fragment>
          );
        })}
        {slight.length ? (
          <tr data-signal="slight">
            <th scope="row" colSpan={3}>{slight.length} more that hardly count here</th>
            <td>{signed(total(slight))}</td>
          </tr>
        ) : null}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row" colSpan={3}>Sum</th>
          <td>{signed(total(parts))}</td>
        </tr>
        <tr className="is-meaning">
          <td colSpan={4}>Put on a scale from 0 to 1 (logistic), this is the confidence of {share(value)}.</td>
        </tr>
      </tfoot>
    </table>
  );
}

function conclusion(kind, { value, threshold, keptAt }, cost) {
  if (threshold === null || kind === 'kept' || kind === 'unchecked') return '';
  if (keptAt !== null) {
    return cost.stopped
      ? `At an early threshold of ${keptAt.toFixed(2)} this draft would not have been stopped here.`
      : `At a threshold of ${keptAt.toFixed(2)} this draft would have been kept.`;
  }
  return value < threshold
    ? 'A lower threshold alone would not have kept this draft.'
    : 'Its confidence alone would have kept this draft; what is said above decided.';
}

function Decision({ kind, confidence, cost }) {
  const value = number(confidence.value);
  const threshold = number(confidence.threshold);
  const parts = (Array.isArray(confidence.parts) ? confidence.parts : [])
    .map((part) => ({ name: String(part.name), value: number(part.value) || 0, weight: number(part.weight) || 0 }));
  const counted = number(cost.tokens);
  const end = conclusion(kind, { value, threshold, keptAt: number(confidence.kept_at) }, cost);
  return (
    <div className="gr-how">
      <p>
        Confidence <b>{share(value)}</b> of 1
        {threshold === null ? null : <>; the {cost.stopped ? 'growing draft' : 'draft'} needed <b>{threshold.toFixed(2)}</b></>}.
      </p>
      <Bar value={value} threshold={threshold} />
      {parts.length ? <Parts parts={parts} value={value} /> : null}
      {String(confidence.signal || '').includes('logprob') ? null : (
        <p>The model’s server gave no log-probabilities that can be used, so its sureness is not among the signals.</p>
      )}
      {end ? <p>{end}</p> : null}
      {counted === null || number(cost.ms) === null ? null : (
        <p>
          The draft cost {time(number(cost.ms))} and {cost.stopped ? <>was stopped after {counted} of at most {tokens(cost.at_most)}</> : tokens(counted)}.
        </p>
      )}
    </div>
  );
}

function Unfold({ open, controls, onClick, children, label }) {
  return (
    <button type="button" className="gr-unfold" aria-expanded={open} aria-controls={controls} aria-label={label} onClick={onClick}>
      <span>{children}</span>
      <ChevronDown size={14} className="gr-turn" aria-hidden="true" />
    </button>
  );
}

function Said({ by, what, text }) {
  return (
    <div className="gr-said">
      <div className="gr-said-by"><b>{what}</b> by {by}</div>
      <div className="gr-draft" dir="auto" tabIndex={0} role="region" aria-label={`${what} by ${by}`}>{text}</div>
    </div>
  );
}

export default function EscalationCard() {
  const [open, setOpen] = useState(opened.get(props) || {});
  const id = useId();
  const kind = ICONS[props.kind] || props.kind === 'kept' ? props.kind : 'escalated';
  const Icon = ICONS[kind] || 'span';
  const draft = String(props.draft || '').trim();
  const final = String(props.final || '').trim();
  const small = props.draft_model || 'the small model';
  const large = props.model || 'the large model';
  const first = (name) => name.charAt(0).toUpperCase() + name.slice(1);
  const drafted = Boolean(draft || props.confidence || props.cost);
  const starts = { refined: 'large', unchecked: 'large', quoted: '', abstained: 'small', kept: '' }[kind] ?? (drafted ? 'small' : 'large');
  const confidence = props.confidence && number(props.confidence.value) !== null ? props.confidence : null;
  const threshold = confidence && number(confidence.threshold);
  const decision = confidence ? (
    <div id={`${id}how`} hidden={!open.how}>
      <Decision kind={kind} confidence={confidence} cost={props.cost || {}} />
    </div>
  ) : null;

  const toggle = (part) => () => {
    const now = { ...open, [part]: !open[part] };
    opened.set(props, now);
    setOpen(now);
  };

  if (kind === 'kept') {
    const kept = confidence
      ? `Kept: ${share(confidence.value)}${threshold === null ? '' : `\u00a0≥\u00a0${threshold.toFixed(2)}`}`
      : '';
    return confidence ? (
      <div className="gr gr-kept" data-kind="kept" role="note">
        <Unfold open={Boolean(open.how)} controls={`${id}how`} label={`${kept}. How this was decided`} onClick={toggle('how')}>
          {kept}
        </Unfold>
        {decision}
      </div>
    ) : null;
  }

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
          drafted={kind === 'quoted' ? Boolean(draft) : drafted}
          small={starts === 'small' && !props.draft_model ? first(small) : small}
          large={starts === 'large' && !props.model ? first(large) : large}
        />
        {draft || decision ? (
          <div className="gr-unfolds">
            {draft ? (
              <Unfold open={Boolean(open.draft)} controls={`${id}draft`} onClick={toggle('draft')}>
                {open.draft ? 'Hide the draft' : 'Show the draft'}
              </Unfold>
            ) : null}
            {decision ? (
              <Unfold open={Boolean(open.how)} controls={`${id}how`} onClick={toggle('how')}>How this was decided</Unfold>
            ) : null}
          </div>
        ) : null}
        {draft ? (
          <div id={`${id}draft`} className="gr-beside" hidden={!open.draft}>
            <Said by={small} what="Draft" text={draft} />
            {final ? <Said by={kind === 'quoted' ? 'the documents' : large} what="Answer" text={final} /> : null}
          </div>
        ) : null}
        {decision}
      </div>
    </div>
  );
}
