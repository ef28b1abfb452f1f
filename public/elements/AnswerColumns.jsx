// The same prompt to the small and the large model: a column for each, which grows while its model writes.
// props: {
//   columns: [{ name, where, text, state: waiting | writing | done | stopped, error,
//               model, seconds, ttft, tokens, counted: server | pieces, rate, speed_up, cost }],
//   evidence: how many sentences of the documents both were shown
// }
// model is what the server says has answered. What is not known is null. Times are in seconds; speed_up is the last model's time divided by this one's.

const STATES = { waiting: 'waits for its turn', writing: 'writing …', stopped: 'stopped' };
const known = (value) => typeof value === 'number' && Number.isFinite(value);

function Figures({ column }) {
  const shown = [
    known(column.seconds) && `${column.seconds.toFixed(2)} s`,
    known(column.ttft) && `first text ${column.ttft.toFixed(2)} s`,
    known(column.tokens) && `${column.tokens} ${column.counted === 'pieces' ? 'pieces' : 'tokens'}`,
    known(column.rate) && `${column.rate.toFixed(1)} a second`,
    known(column.speed_up) && column.speed_up.toFixed(1) !== '1.0' && `${column.speed_up.toFixed(1)} × the speed`,
    known(column.cost) && `cloud price US$ ${column.cost.toFixed(6)}`
  ].filter(Boolean);
  return <p className="gr-quiet gr-compare-figures">{shown.join(' · ') || STATES[column.state] || ''}</p>;
}

export default function AnswerColumns() {
  const columns = Array.isArray(props.columns) ? props.columns : [];
  if (!columns.length) return null;
  return (
    <section className="gr gr-compare" aria-label="Answers side by side">
      <div className="gr-compare-columns">
        {columns.map((column, place) => (
          <article key={place} aria-busy={column.state === 'writing'} data-state={column.state}>
            <h4>
              {column.name} <span className="gr-quiet">{column.where}</span>
            </h4>
            <p className="gr-compare-text" dir="auto">{column.text}</p>
            {column.model && column.model !== column.name ? <p className="gr-quiet">answered as {column.model}</p> : null}
            {column.error ? <p className="gr-compare-error">{column.error}</p> : null}
            <Figures column={column} />
          </article>
        ))}
      </div>
      <p className="gr-quiet gr-compare-note">
        {props.evidence
          ? `Both were shown the same ${props.evidence === 1 ? 'sentence' : `${props.evidence} sentences`} of the documents.`
          : 'Without documents: they have nothing on this prompt.'}
      </p>
    </section>
  );
}
