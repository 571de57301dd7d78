// Building blocks for the other modules. Text is always set as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

/** A lucide icon from the sprite, as decoration. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS(SVG, 'use'));
  setIcon(svg, name);
  return svg;
}

/** Point an existing icon at another picture of the sprite. */
export function setIcon(svg, name) {
  const sprite = document.querySelector('meta[name="icons"]').content;
  svg.querySelector('use').setAttribute('href', `${sprite}#${name}`);
}

/** `element('p', {class: 'hint'}, 'words', child)` */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, '');
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** Local storage, or what another gives; a browser that forbids it behaves as if nothing was stored. */
function store(open) {
  return {
    get(key) {
      try {
        return open().getItem(key);
      } catch {
        return null;
      }
    },
    set(key, value) {
      try {
        open().setItem(key, value);
      } catch {
        // Storage is blocked: the choice lasts as long as the page.
      }
    },
  };
}

/** What this browser remembers for good. */
export const memory = store(() => localStorage);
/** What it remembers until this tab is closed. */
export const visit = store(() => sessionStorage);
