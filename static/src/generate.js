// Generating: the composer with its storyboard, and what is being made beside it.
import { startPreviews } from './studio/previews.js';
import { Storyboard } from './studio/storyboard.js';

const hour = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const composer = document.querySelector('[data-composer]');

startPreviews();
if (composer) compose();

function compose() {
  const prompt = composer.querySelector('#prompt');
  const count = composer.querySelector('[data-count]');
  const storyboard = new Storyboard(composer.querySelector('[data-storyboard]'));

  const showCount = () => (count.textContent = prompt.value ? `${prompt.value.length.toLocaleString()} of ${prompt.maxLength.toLocaleString()}` : '');
  prompt.addEventListener('input', showCount);
  showCount();
  prompt.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) composer.requestSubmit(composer.querySelector('#make'));
  });
  // Pictures that are still on their way belong to it.
  document.addEventListener('htmx:confirm', (event) => {
    if (event.detail.elt !== composer || !storyboard.isSending) return;
    event.preventDefault();
    storyboard.settled().then(() => event.detail.issueRequest());
  });
  document.addEventListener('htmx:afterSwap', (event) => {
    const problem = document.querySelector('#composer-problem .notice');
    prompt.toggleAttribute('aria-invalid', false);
    if (event.target.id === 'composer-problem' && problem) {
      if (!prompt.value.trim()) {
        prompt.setAttribute('aria-invalid', 'true');
        prompt.focus();
      }
      problem.scrollIntoView({ block: 'nearest' });
    } else if (event.target.id === 'makings') {
      const newest = event.target.firstElementChild;
      const { top } = newest.getBoundingClientRect();
      if (top > window.innerHeight - 160 || top < 0) newest.scrollIntoView({ block: 'start' });
    }
  });
}

// The server wrote UTC; people read their own clock.
function clocks(within) {
  for (const time of within.querySelectorAll?.('time[data-clock]') ?? []) time.textContent = hour.format(new Date(time.dateTime));
}
clocks(document);
document.addEventListener('htmx:load', (event) => clocks(event.target));
