// Asks before an action that cannot be taken back. On a form, a button or an htmx element:
//   data-confirm="Delete “Rushes 4”?"  data-confirm-text="…"  data-confirm-ok="Delete"  data-confirm-kind="danger|plain"
//   data-confirm-keep="Keep it"  (instead of “Cancel”, where cancelling is what is asked about)

export function startConfirmations() {
  document.addEventListener('htmx:confirm', (event) => {
    const asking = event.detail.elt.closest('[data-confirm]');
    if (!asking) return;
    event.preventDefault();
    confirm(asking.dataset).then((ok) => ok && event.detail.issueRequest(true));
  });
  document.addEventListener('submit', (event) => {
    const asking = event.submitter?.dataset.confirm ? event.submitter : event.target;
    if (!asking.dataset.confirm || isHtmx(event.target) || event.target.dataset.confirmed) return;
    event.preventDefault();
    confirm(asking.dataset).then((ok) => {
      if (!ok) return;
      event.target.dataset.confirmed = 'yes';
      event.target.requestSubmit(event.submitter ?? undefined);
      delete event.target.dataset.confirmed;
    });
  });
}

function isHtmx(form) {
  return form.matches('[hx-post], [hx-get], [hx-put], [hx-patch], [hx-delete]');
}

/** Ask in the page's dialog. Resolves to whether the answer was yes; the focus goes back to where it was. */
export function confirm({ confirm: title, confirmText = '', confirmOk = 'Delete', confirmKind = 'danger', confirmKeep = 'Cancel' }) {
  const dialog = document.getElementById('confirm');
  const before = document.activeElement;
  dialog.querySelector('#confirm-title').textContent = title;
  dialog.querySelector('#confirm-text').textContent = confirmText;
  const ok = dialog.querySelector('[data-confirm-ok]');
  ok.textContent = confirmOk;
  ok.dataset.variant = confirmKind === 'danger' ? 'danger' : 'primary';
  dialog.querySelector('[value="cancel"]').textContent = confirmKeep;
  dialog.returnValue = 'cancel';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      if (before?.isConnected) before.focus();
      resolve(dialog.returnValue === 'ok');
    }, { once: true });
  });
}
