// Where the milliseconds of an answer went. One line; opened, a bar a stage on a common time axis.
// props: the message's metadata { model, route, reason, confidence, draft, latency, usage, cost }, and optionally
// models: { slm, llm }, the names of both models where `model` alone does not say them;
// feedback: { answer, file }, the id of the message and the name of the file, where the answer can be marked as wrong.
import { useEffect, useId, useRef, useState } from 'react';
import { ArrowUpRight, ChevronDown, CircleAlert, CircleSlash, Cpu, Layers, Quote, Sparkles, ThumbsDown } from 'lucide-react';

// What is open is kept beside this file: Chainlit evaluates it again whenever the chat changes state.
const opened = (window.groundedOpened = window.groundedOpened || new WeakMap());

const ROUTES = {
  slm: ['Small model', 'small', Cpu, 'The small model answered.'],
  llm: ['Large model', 'large', Layers, 'The large model answered.'],
  escalated: ['Escalated', 'large', ArrowUpRight, 'The small model’s draft was not kept, and the large model answered.'],
  refined: ['Refined', 'large', Sparkles, 'The large model polished the small model’s draft.'],
  quoted: ['Quoted', 'other', Quote, 'The documents are quoted in place of a model’s answer.'],
  abstained: ['No answer', 'other', CircleSlash, 'The documents do not say.']
};

const STAGES = {
  queue: ['Waiting in the queue', 'All places were taken; the question waited for one.'],
  load: ['Loading the model', 'The model was read from disk into memory.'],
  rewrite: ['Reading the follow-up', 'The question was completed with what the conversation said before.'],
  search: ['Searching', 'The documents were searched for the words of the question.'],
  evidence: ['Picking evidence', 'The sentences that bear on the question were picked from what was found.'],
  prompt: ['Building the prompt', 'Question, evidence and history were put into the message for the model.'],
  send: ['Sending', 'The prompt was sent, and the model’s server accepted it.'],
  first_token: ['Reading the prompt', 'The model read the whole prompt, until its first word came (prefill).'],
  reasoning: ['Reasoning', 'The model thought before it answered; none of these words are in the answer.'],
  generate: ['Writing', 'The model wrote its words one after the other (decode).'],
  judge: ['Judging', 'Length and confidence were checked, and sentences matched to their sources.']
};

const SIGNALS = {
  logprob: 'how sure the model was of its own words',
  logprobs: 'how sure the model was of its own words',
  support: 'how much of the draft the evidence supports',
  agreement: 'how well the draft agrees with the best evidence',
  length: 'how long the draft is'
};

const number = (value) => (value === null || value === undefined || !Number.isFinite(Number(value)) ? null : Number(value));

function time(ms) {
  if (ms === null) return '–';
  if (ms >= 99950) return `${Math.round(ms / 1000)} s`;
  if (ms >= 9995) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms >= 9.95 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

function money(amount, currency) {
  const digits = amount >= 1 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(amount)));
  return `${amount.toFixed(Math.max(2, digits))} ${currency || 'USD'}`;
}

// Ticks at 1, 2 or 5 times a power of ten, at most `most` of them.
function ticks(total, most) {
  let step = 10 ** Math.floor(Math.log10(total / most));
  for (const factor of [2, 2.5, 2]) {
    if (total / step > most) step *= factor;
  }
  const all = [];
  for (let at = 0; at <= total * 1.0001; at += step) all.push(at);
  return { step, all };
}

const ownerOf = (name, drafted) => {
  if (name.startsWith('llm_')) return 'large';
  if (name === 'prompt' && !drafted) return 'other'; // made, but the small model was not asked
  return ['load', 'prompt', 'send', 'first_token', 'reasoning', 'generate', 'judge'].includes(name) ? 'small' : 'other';
};

function read(metadata) {
  const latency = metadata.latency || {};
  const stages = (Array.isArray(latency.stages) ? latency.stages : [])
    .map((stage) => ({ name: String(stage.name), start: number(stage.start_ms) || 0, ms: Math.max(0, number(stage.ms) || 0) }))
    .sort((a, b) => a.start - b.start);
  const wrote = { small: stages.some((s) => s.name === 'generate'), large: stages.some((s) => s.name === 'llm_generate') };
  const drafted = stages.some((stage) => ['send', 'first_token', 'generate'].includes(stage.name));
  for (const stage of stages) {
    const plain = stage.name.replace(/^llm_/, '');
    const [label, title] = STAGES[plain] || [plain.replace(/_/g, ' '), ''];
    stage.owner = ownerOf(stage.name, drafted);
    stage.label = label;
    stage.title = title;
  }
  const end = Math.max(0, ...stages.map((stage) => stage.start + stage.ms));
  const total = number(latency.total_ms);
  const speed = (usage, name) => {
    // What a model thought is among its tokens, but not in the time that it wrote its answer.
    const thought = stages.some((stage) => stage.name === name.replace('generate', 'reasoning'));
    const reasoning = number(usage && usage.reasoning);
    if (thought && reasoning === null) return null;
    const tokens = number(usage && usage.completion) - (reasoning || 0);
    const ms = stages.filter((stage) => stage.name === name).reduce((sum, stage) => sum + stage.ms, 0);
    return tokens > 1 && ms > 0 ? (tokens - 1) / (ms / 1000) : null;
  };
  const usage = metadata.usage || {};
  return {
    stages,
    wrote,
    drafted,
    total: total === null && stages.length ? end : total,
    axis: Math.max(total || 0, end),
    ttft: number(latency.ttft_ms),
    small: { usage: usage.slm, speed: speed(usage.slm, 'generate') },
    large: { usage: usage.llm, speed: speed(usage.llm, 'llm_generate') }
  };
}

const perSecond = (value) => `${value >= 10 ? Math.round(value) : value.toFixed(1)} tokens/s`;

function Bars({ data, names }) {
  const uid = useId();
  const at = (ms) => Math.min(100, (ms / data.axis) * 100);
  const axis = ticks(data.axis, 4);
  const groups = [
    ['other', 'Preparation', ''],
    ['small', 'Small model', names.small],
    ['large', 'Large model', names.large]
  ]
    .map(([owner, title, model]) => ({ owner, title, model, rows: data.stages.filter((stage) => stage.owner === owner) }))
    .filter((group) => group.rows.length);
  const line = data.ttft !== null && data.ttft > 0 && data.ttft <= data.axis
    ? <i className="gr-first" style={{ left: `${at(data.ttft)}%` }} />
    : null;

  return (
    <>
      <table className="gr-stages" aria-describedby={line ? uid : undefined}>
        <caption className="gr-only">Where the time went, stage by stage</caption>
        <colgroup>
          <col className="c-name" />
          <col />
          <col className="c-ms" />
        </colgroup>
        <thead>
          <tr>
            <th scope="col"><span className="gr-only">Stage</span></th>
            <th scope="col">
              <span className="gr-only">When, from the question on</span>
              <div className="gr-axis" aria-hidden="true">
                {axis.all.filter((ms) => at(ms) < 90 || axis.all.length < 3).map((ms) => (
                  <span key={ms} style={{ left: `${at(ms)}%` }}>{ms ? time(ms).replace(/\.0+ /, ' ').replace(/(\.\d)0 /, '$1 ') : '0'}</span>
                ))}
              </div>
            </th>
            <th scope="col"><span className="gr-only">Duration</span></th>
          </tr>
        </thead>
        {groups.map((group) => (
          <tbody key={group.owner}>
            <tr className="is-group">
              <th scope="rowgroup" colSpan={2}>
                <span className="gr-group">
                  <span className={`gr-swatch is-${group.owner}`} aria-hidden="true" />
                  <span>{group.title}</span>
                  {group.model ? <span className="gr-model">{group.model}</span> : null}
                </span>
              </th>
              <td className="c-ms">{time(group.rows.reduce((sum, stage) => sum + stage.ms, 0))}</td>
            </tr>
            {group.rows.map((stage, index) => (
              <tr key={index} data-stage={stage.name}>
                <th scope="row" className="c-name" title={stage.title}>{stage.label}</th>
                <td>
                  <div className="gr-track" aria-hidden="true" style={{ '--step': `${(axis.step / data.axis) * 100}%` }}>
                    {line}
                    <i
                      className={`is-${stage.owner}`}
                      title={`${stage.label}: ${time(stage.start)} to ${time(stage.start + stage.ms)}`}
                      style={{ left: `min(${at(stage.start)}%, calc(100% - 3px))`, width: `${at(stage.ms)}%` }}
                    />
                  </div>
                  <span className="gr-only">from {time(stage.start)} to {time(stage.start + stage.ms)}</span>
                </td>
                <td className="c-ms">{time(stage.ms)}</td>
              </tr>
            ))}
          </tbody>
        ))}
      </table>
      {line ? (
        <p className="gr-key" id={uid}><i aria-hidden="true" />First words on the screen after {time(data.ttft)} (TTFT)</p>
      ) : null}
    </>
  );
}

function Tokens({ model, wrote, draft }) {
  const prompt = number(model.usage && model.usage.prompt);
  const completion = number(model.usage && model.usage.completion);
  const parts = [];
  if (prompt !== null) parts.push(`read ${prompt} tokens`);
  const reasoning = number(model.usage && model.usage.reasoning);
  if (completion !== null) parts.push(`wrote ${completion}${reasoning ? `, ${reasoning} of them reasoning` : ''}`);
  if (model.speed !== null) parts.push(`${perSecond(model.speed)} while writing`);
  if (draft && draft.stopped) parts.push(`stopped after ${draft.tokens} of at most ${draft.at_most} tokens`);
  if (!parts.length) return wrote ? 'did not report its tokens' : 'not asked';
  return parts.join(' · ');
}

function Facts({ metadata, data, names }) {
  const confidence = number(metadata.confidence && metadata.confidence.value);
  const signals = String((metadata.confidence && metadata.confidence.signal) || '')
    .split('+').map((part) => part.trim()).filter(Boolean).map((part) => SIGNALS[part] || part);
  const cost = metadata.cost || {};
  const local = number(cost.local);
  const servers = cost.servers === undefined ? 0 : number(cost.servers);
  const cloud = number(cost.cloud_equivalent);
  const asked = { small: data.small.usage || data.wrote.small, large: data.large.usage || data.wrote.large };
  return (
    <dl className="gr-facts">
      {asked.small ? (
        <>
          <dt>{names.small || 'Small model'}</dt>
          <dd><Tokens model={data.small} wrote={data.wrote.small} draft={metadata.draft} /></dd>
        </>
      ) : null}
      {asked.large ? (
        <>
          <dt>{names.large || 'Large model'}</dt>
          <dd><Tokens model={data.large} wrote={data.wrote.large} /></dd>
        </>
      ) : null}
      <dt>Confidence</dt>
      <dd>
        {confidence === null ? 'not measured' : `${(Math.floor(confidence * 100 + 1e-9) / 100).toFixed(2)} of 1`}
        {confidence !== null && signals.length ? <span className="gr-quiet">, from {signals.join(' and ')}</span> : null}
      </dd>
      {local !== null || cloud !== null ? (
        <>
          <dt>Cost</dt>
          <dd>
            {servers === null ? 'not known: the server’s tokens or its price are not known' : null}
            {servers > 0 ? money(servers, cost.currency) : null}
            {servers === 0 && local !== null ? 'nothing' : null}
            {cloud === null || cloud <= 0 ? null : (
              <span className="gr-quiet">{local === null ? '' : ' · '}in the cloud about {money(cloud, cost.currency)}</span>
            )}
          </dd>
        </>
      ) : null}
    </dl>
  );
}

// What is being said of an answer, by the id of its message. It outlives a new evaluation of this file, in the middle
// of a word or of a request too, and a packet that brings the element again after a lost connection.
const marks = (window.groundedMarks = window.groundedMarks || { kept: new Map(), drawn: new Map(), typing: null });

function useMark(key) {
  const [mark, setMark] = useState(marks.kept.get(key) || {});
  useEffect(() => {
    marks.drawn.set(key, setMark);
    setMark(marks.kept.get(key) || {});
    return () => {
      if (marks.drawn.get(key) === setMark) marks.drawn.delete(key);
    };
  }, [key]);
  const change = (more) => {
    marks.kept.set(key, { ...marks.kept.get(key), ...more });
    const draw = marks.drawn.get(key);
    if (draw) draw(marks.kept.get(key));
  };
  return [mark, change];
}

// A request whose connection is lost may never settle.
const PATIENCE_MS = 20_000;

function withinPatience(request) {
  let timer;
  const tooLong = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no reply within ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  });
  return Promise.race([request, tooLong]).finally(() => clearTimeout(timer));
}

const NOTED = { right: '', unsaid: 'The documents do not say it.', wrong: 'Only that it is wrong.' };

function NotRight({ id, answer, mark, change }) {
  const field = useRef(null);
  const undo = useRef(null);
  const uid = useId();

  useEffect(() => {
    const wanted = mark.focus === 'undo' ? undo.current : field.current;
    const typing = marks.typing && marks.typing.answer === answer && document.activeElement === document.body;
    if (!wanted || !(mark.focus || typing)) return;
    wanted.focus({ preventScroll: true });
    if (typing && wanted === field.current) wanted.setSelectionRange(marks.typing.start, marks.typing.end);
    if (mark.focus) change({ focus: '' });
  }, [mark.focus]);

  const send = async (name, payload, done) => {
    if ((marks.kept.get(answer) || {}).busy) return;
    change({ busy: true, error: '' });
    let reply = null;
    try {
      reply = (await withinPatience(callAction({ name, payload: { answer, ...payload } }))).response;
    } catch (error) {
      console.warn(error);
    }
    const error = reply ? reply.error : 'The chat did not answer. Your words are still here: try again.';
    change({ busy: false, ...(error ? { error } : done(reply)) });
  };
  const save = (verdict) => {
    const words = field.current.value;
    send('mark_wrong', verdict === 'right' ? { verdict, words } : { verdict },
      (reply) => ({ noted: reply.noted, verdict, focus: 'undo' }));
  };
  const escape = (event) => {
    if (event.key !== 'Escape') return;
    change({ open: false });
    event.currentTarget.parentElement.querySelector('.gr-mark').focus();
  };
  const error = mark.error ? (
    <p className="gr-say-error" role="alert"><CircleAlert size={14} aria-hidden="true" /><span>{mark.error}</span></p>
  ) : null;

  if (mark.noted) {
    return (
      <div className="gr-say" id={id} onKeyDown={escape}>
        <div className="gr-say-noted">
          <p id={uid} role="status">
            Noted in {mark.noted}. <span className="gr-quiet" dir="auto">{NOTED[mark.verdict] || mark.words}</span>
          </p>
          <button
            type="button"
            ref={undo}
            className="gr-unfold"
            aria-describedby={uid}
            aria-disabled={Boolean(mark.busy)}
            onClick={() => send('unmark', {}, () => ({ noted: '', focus: 'words' }))}
          >
            <span>Undo</span>
          </button>
        </div>
        {error}
      </div>
    );
  }
  return (
    <form
      className="gr-say"
      id={id}
      onKeyDown={escape}
      onSubmit={(event) => {
        event.preventDefault();
        save('right');
      }}
    >
      <label htmlFor={uid}>What would be right? <span>A few words; several alternatives separated by ;</span></label>
      <input
        id={uid}
        ref={field}
        type="text"
        dir="auto"
        maxLength={500}
        autoComplete="off"
        defaultValue={mark.words || ''}
        onInput={(event) => marks.kept.set(answer, { ...marks.kept.get(answer), words: event.target.value })}
        onSelect={(event) => {
          marks.typing = { answer, start: event.target.selectionStart, end: event.target.selectionEnd };
        }}
        onBlur={(event) => {
          const left = event.target; // a field that is drawn anew was not left
          setTimeout(() => { if (left.isConnected) marks.typing = null; });
        }}
      />
      <div className="gr-say-buttons">
        <button type="submit" aria-disabled={Boolean(mark.busy)}>Save</button>
        <button type="button" aria-disabled={Boolean(mark.busy)} onClick={() => save('unsaid')}>The documents do not say it</button>
        <button type="button" aria-disabled={Boolean(mark.busy)} onClick={() => save('wrong')}>Only note that it is wrong</button>
      </div>
      {error}
    </form>
  );
}

export default function LatencyWaterfall() {
  const metadata = props || {};
  const [open, setOpen] = useState(opened.get(props) || false);
  const id = useId();
  const data = read(metadata);
  const [badge, tone, Icon, said] = ROUTES[metadata.route] || [metadata.route || 'Answer', 'other', Quote, ''];
  const sentence = metadata.route === 'escalated' && data.stages.length && !data.drafted
    ? 'The large model answered without a draft.'
    : said;
  const models = metadata.models || {};
  const names = {
    small: models.slm || (metadata.route === 'slm' ? metadata.model : ''),
    large: models.llm || (tone === 'large' ? metadata.model : '')
  };
  const speed = tone === 'large' ? data.large.speed : data.small.speed;
  const reason = String(metadata.reason || '').trim().replace(/\.$/, '').replace(/ ([<>≤≥=]) /g, '\u00a0$1\u00a0');

  const feedback = metadata.feedback;
  const [mark, change] = useMark(feedback ? feedback.answer : '');

  const toggle = () => {
    opened.set(props, !open);
    setOpen(!open);
  };

  return (
    <div className="gr gr-fall" data-route={metadata.route}>
      <div className="gr-fall-box">
        <div className="gr-fall-head">
          <button
            type="button"
            className="gr-fall-line"
            aria-expanded={open}
            aria-controls={open ? id : undefined}
            title={open ? 'Hide where the time went' : 'Show where the time went'}
            onClick={toggle}
          >
            <span className={`gr-badge tone-${tone}`} title={[sentence, reason].filter(Boolean).join(' ')}>
              <Icon size={13} aria-hidden="true" />
              {badge}
            </span>
            {metadata.model ? <span className="gr-fall-model" title={metadata.model}>{metadata.model}</span> : null}
            {data.total !== null ? (
              <span className="gr-fall-number" title="From the question to the last word">
                <b>{time(data.total)}</b><span className="gr-word"> total</span>
              </span>
            ) : null}
            {data.ttft !== null ? (
              <span className="gr-fall-number is-ttft" title="Time to first token: from the question to the first words on the screen">
                TTFT <b>{time(data.ttft)}</b>
              </span>
            ) : null}
            {speed !== null ? (
              <span className="gr-fall-number is-speed" title="Tokens a second while the model was writing, the wait before not counted">
                <b>{speed >= 10 ? Math.round(speed) : speed.toFixed(1)}</b> tokens/s
              </span>
            ) : null}
            {data.stages.length ? (
              <span className="gr-strip" aria-hidden="true">
                {data.stages.map((stage, index) => (
                  <i
                    key={index}
                    className={`is-${stage.owner}`}
                    style={{
                      left: `min(${(stage.start / data.axis) * 100}%, calc(100% - 2px))`,
                      width: `${(stage.ms / data.axis) * 100}%`
                    }}
                  />
                ))}
              </span>
            ) : null}
            <ChevronDown size={15} className="gr-turn" aria-hidden="true" />
          </button>
          {feedback ? (
            <button
              type="button"
              className="gr-mark"
              data-noted={mark.noted ? '' : undefined}
              aria-expanded={Boolean(mark.open)}
              aria-controls={mark.open ? `${id}mark` : undefined}
              title={mark.noted ? 'What was noted of this answer' : 'Say what would be right'}
              onClick={() => change({ open: !mark.open, focus: mark.open ? '' : mark.noted ? 'undo' : 'words' })}
            >
              <ThumbsDown size={14} aria-hidden="true" />
              <span>{mark.noted ? 'Noted' : 'Not right?'}</span>
            </button>
          ) : null}
        </div>
        {feedback && mark.open ? (
          <NotRight id={`${id}mark`} answer={feedback.answer} mark={mark} change={change} />
        ) : null}
        {open ? (
          <div className="gr-fall-more" id={id}>
            <p className="gr-fall-why">
              <b>{sentence}</b>
              {reason ? <> {reason.charAt(0).toUpperCase() + reason.slice(1)}.</> : null}
            </p>
            {data.stages.length && data.axis > 0 ? <Bars data={data} names={names} /> : null}
            <Facts metadata={metadata} data={data} names={names} />
          </div>
        ) : null}
      </div>
    </div>
  );
}
