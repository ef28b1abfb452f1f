// Every file of the documents and what became of it: left out first, with a box to filter by name or reason.
// props: {
//   find: words that the list was narrowed to,
//   rows: { left, own, copies, indexed: [[name, what became of it]] }, at most 500 in all,
//   counts: how many there are, by the same names
// }
import { useId, useState } from 'react';
import { Search } from 'lucide-react';

// What was typed is kept beside this file: Chainlit evaluates it again whenever the chat changes state.
const typed = (window.groundedFilters = window.groundedFilters || new WeakMap());

const GROUPS = [
  ['left', 'Left out'],
  ['own', 'In this conversation only'],
  ['copies', 'Same text as another'],
  ['indexed', 'Answers stand on']
];
const thousands = (count) => Number(count || 0).toLocaleString('en');

export default function DocsReport() {
  const [words, setWords] = useState(typed.get(props) || '');
  const id = useId();
  const rows = props.rows || {};
  const counts = props.counts || {};
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = ([name, fate]) => wanted.every((word) => `${name} ${fate}`.toLowerCase().includes(word));

  const groups = GROUPS.map(([key, title]) => {
    const sent = Array.isArray(rows[key]) ? rows[key] : [];
    return { key, title, count: counts[key] || 0, unsent: (counts[key] || 0) - sent.length, shown: sent.filter(fits) };
  });
  const total = groups.reduce((sum, group) => sum + group.count, 0);
  const unsent = groups.reduce((sum, group) => sum + group.unsent, 0);
  const shown = groups.reduce((sum, group) => sum + group.shown.length, 0);

  const filter = (event) => {
    typed.set(props, event.target.value);
    setWords(event.target.value);
  };

  return (
    <section className="gr gr-docs" aria-label="Every file of the documents">
      <div className="gr-docs-top">
        <label htmlFor={id}>
          <Search size={14} aria-hidden="true" />
          <span className="gr-only">Filter by name or by what became of it</span>
        </label>
        <input id={id} type="search" value={words} placeholder="Filter" autoComplete="off" onChange={filter} />
        <span className="gr-quiet" role="status">
          {wanted.length ? `${thousands(shown)} of ${thousands(total - unsent)}` : `${thousands(total)} ${total === 1 ? 'file' : 'files'}`}
        </span>
      </div>
      <div className="gr-docs-list" tabIndex={0} role="region" aria-label="Files">
        {groups.filter((group) => group.shown.length).map((group) => (
          <table key={group.key} data-group={group.key}>
            <caption>
              {group.title} <span className="gr-quiet">{thousands(wanted.length ? group.shown.length : group.count)}</span>
            </caption>
            <thead className="gr-only">
              <tr><th scope="col">File</th><th scope="col">What became of it</th></tr>
            </thead>
            <tbody>
              {group.shown.map(([name, fate]) => (
                <tr key={name}>
                  <th scope="row"><bdi>{group.key === 'own' ? name.replace(/^upload\//, '') : name}</bdi></th>
                  <td dir="auto">{fate}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ))}
        {shown ? null : <p className="gr-quiet">No file fits.</p>}
      </div>
      {unsent > 0 ? (
        <p className="gr-docs-more gr-quiet">
          {thousands(unsent)} more {unsent === 1 ? 'file is' : 'files are'} not listed here. <kbd>/docs</kbd> and a part of a name looks among all.
        </p>
      ) : null}
    </section>
  );
}
