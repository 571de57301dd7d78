// Adaptive streaming: a video in several sizes, of which the connection decides. Loaded only for a video that has them.
import Hls from 'hls.js/light';

/**
 * Play a ladder in a <video>.
 * @param {HTMLVideoElement} video
 * @param {string} master  the address of the list of sizes; the addresses in what it leads to are signed for a while
 * @param {{sizes: (levels: {id: number, height: number}[]) => void, failed: () => void}} on
 * @returns {{choose: (id: number) => void, stop: () => void} | null} null when the browser cannot: play the file instead
 */
export function playLadder(video, master, on) {
  if (!Hls.isSupported()) return null;
  // No worker: it would be a script made of a blob, which our content policy forbids.
  const hls = new Hls({ enableWorker: false, capLevelToPlayerSize: true, startPosition: video.currentTime || -1 });
  let renewals = 0;
  hls.on(Hls.Events.MANIFEST_PARSED, (_, { levels }) => on.sizes(levels.map(({ height }, id) => ({ id, height }))));
  hls.on(Hls.Events.FRAG_BUFFERED, () => (renewals = 0));
  hls.on(Hls.Events.ERROR, (_, { fatal, type, response }) => {
    // A refused piece is one whose address expired: ask for the lists again, and go on from here.
    const refused = type === Hls.ErrorTypes.NETWORK_ERROR && response?.code === 403;
    if (refused && renewals === 0) {
      renewals += 1;
      hls.loadSource(master);
      hls.startLoad(video.currentTime);
    } else if (fatal && type === Hls.ErrorTypes.MEDIA_ERROR && renewals === 0) {
      renewals += 1;
      hls.recoverMediaError();
    } else if (fatal) {
      hls.destroy();
      on.failed();
    }
  });
  hls.loadSource(master);
  hls.attachMedia(video);
  return { choose: (id) => (hls.nextLevel = id), stop: () => hls.destroy() };
}
