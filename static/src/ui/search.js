// The header's search on a page that holds a list: it follows the typing, and so does the address, without an entry in
// the history for each letter.
import htmx from 'htmx.org';

const TYPING_MS = 250;

/** @param {string} target the selector of the list that is fetched again */
export function startSearch(target) {
  const search = document.querySelector('[data-search]');
  let typing;

  function find() {
    const url = new URL(location.href);
    const words = search.value.trim();
    if (words === (url.searchParams.get('q') ?? '')) return;
    url.searchParams.delete('page');
    if (words) url.searchParams.set('q', words);
    else url.searchParams.delete('q');
    const path = `${url.pathname}${url.search}`;
    history.replaceState({ htmx: true }, '', path);
    htmx.ajax('GET', path, { source: target, target, swap: 'innerHTML show:none' });
  }

  search?.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(find, TYPING_MS);
  });
  search?.form.addEventListener('submit', (event) => {
    event.preventDefault();
    event.stopPropagation();
    clearTimeout(typing);
    find();
  });
  document.addEventListener('click', (event) => {
    if (event.target.closest('[data-clear-search]') && search) search.value = '';
  });
}
