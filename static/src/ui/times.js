// Keeps the words of `<time data-ago>` fresh. The server wrote the first ones: the wording here is the same.

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });

export function startTimes() {
  refresh(document);
  setInterval(() => refresh(document), 30_000);
  document.addEventListener('htmx:load', (event) => refresh(event.target));
}

/** The age of `moment` in words: just now, 5 minutes ago, yesterday, 12 Mar 2026. */
export function ago(moment, now = new Date()) {
  const seconds = (now - moment) / 1000;
  if (seconds < 45) return 'just now';
  for (const [size, below, word] of [[60, 3600, 'minute'], [3600, 86_400, 'hour']]) {
    if (seconds < below - size / 2) {
      const count = Math.max(1, Math.round(seconds / size));
      return `${count} ${word}${count === 1 ? '' : 's'} ago`;
    }
  }
  const days = Math.round((midnight(now) - midnight(moment)) / 86_400_000);
  if (days <= 1) return 'yesterday';
  return days < 30 ? `${days} days ago` : day.format(moment);
}

function midnight(moment) {
  return new Date(moment.getFullYear(), moment.getMonth(), moment.getDate());
}

function refresh(within) {
  for (const time of within.querySelectorAll('time[data-ago]')) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    const words = ago(moment);
    if (time.textContent !== words) time.textContent = words;
    time.title = exact.format(moment);
  }
}
