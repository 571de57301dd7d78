// Menus are native popovers (light dismiss and Escape come with them). This places one beside its button, moves
// the focus with the arrow keys, and says `aria-expanded`.

const GAP = 4;
const EDGE = 8;

export function startMenus() {
  // `toggle` does not bubble; capture sees it for menus that are swapped in later, too.
  document.addEventListener('beforetoggle', place, true);
  document.addEventListener('toggle', opened, true);
  document.addEventListener('keydown', arrows);
  document.addEventListener('click', (event) => {
    event.target.closest('.menu [role^="menuitem"]')?.closest('.menu').hidePopover();
  });
}

function buttonOf(menu) {
  return document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
}

function items(menu) {
  return [...menu.querySelectorAll('[role^="menuitem"]:not([disabled])')];
}

function place(event) {
  const menu = event.target;
  if (!menu.matches?.('.menu') || event.newState !== 'open') return;
  // Its size is known only once it is shown; until then it must not be seen in the wrong place.
  menu.style.visibility = 'hidden';
}

function opened(event) {
  const menu = event.target;
  if (!menu.matches?.('.menu')) return;
  const button = buttonOf(menu);
  const open = event.newState === 'open';
  button?.setAttribute('aria-expanded', String(open));
  if (!open || !button) return;
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const left = at.left + width > window.innerWidth - EDGE ? at.right - width : at.left;
  const below = at.bottom + GAP;
  const top = below + height > window.innerHeight - EDGE ? at.top - GAP - height : below;
  menu.style.left = `${Math.max(EDGE, left)}px`;
  menu.style.top = `${Math.max(EDGE, top)}px`;
  menu.style.visibility = '';
  (menu.querySelector('[aria-checked="true"]') ?? items(menu)[0])?.focus({ preventScroll: true });
}

function arrows(event) {
  const button = event.target.closest('[aria-haspopup="menu"][popovertarget]');
  if (button && event.key === 'ArrowDown') {
    event.preventDefault();
    document.getElementById(button.getAttribute('popovertarget'))?.showPopover();
    return;
  }
  const menu = event.target.closest('.menu');
  if (!menu) return;
  const all = items(menu);
  const now = all.indexOf(document.activeElement);
  const next = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: all.length - 1 }[event.key];
  if (next !== undefined) {
    event.preventDefault();
    all.at(next % all.length)?.focus();
  } else if (event.key === 'Tab') {
    menu.hidePopover();
  } else if (event.key.length === 1 && /\S/.test(event.key)) {
    const letter = event.key.toLowerCase();
    const order = [...all.slice(now + 1), ...all.slice(0, now + 1)];
    order.find((item) => item.textContent.trim().toLowerCase().startsWith(letter))?.focus();
  }
}
