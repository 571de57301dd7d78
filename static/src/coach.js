// A session's pages: videos that are sent here are analysed by themselves; what was found is shown beside its video.
const session = document.querySelector('[data-session]');
const comparison = document.querySelector('[data-comparison]');
const history = document.querySelector('[data-history]');

if (session) import('./coach/session.js').then(({ openSession }) => openSession(session));
if (comparison) import('./coach/compare.js').then(({ openComparison }) => openComparison(comparison));
if (history) import('./coach/history.js').then(({ openHistory }) => openHistory(history));
const report = document.querySelector('[data-report]:has([data-key-frame-at])');
if (report) {
  Promise.all([import('./coach/moments.js'), import('./coach/recording.js')]).then(async ([{ showMoments }, { Recording }]) => {
    await showMoments(report, await Recording.load(report.dataset.report));
    report.dataset.ready = 'yes';
  });
}
for (const button of document.querySelectorAll('[data-print]')) button.addEventListener('click', () => print());
for (const form of document.querySelectorAll('form[data-at-once]')) form.addEventListener('change', () => form.requestSubmit());
