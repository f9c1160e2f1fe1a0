// Hands on the disk: pointers, wheel, keys.

const STILL = 5; // pixels that a click may move
const STOPS = 12; // points that Tab goes through, before it leaves the disk

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * Lets a disk be dragged, magnified and walked in.
 * @param {Disk} disk that is moved
 * @param {{open: function(number), point: function(number), leave: function()}} told open: a point was chosen; point:
 *   one is pointed at by key, or −1; leave: the selection is to go
 */
export function control(disk, told) {
  followPointers(disk, told);
  followWheel(disk);
  followKeys(disk, told);
}

function followPointers(disk, { open }) {
  const { canvas, view } = disk;
  const down = new Map();
  let grip = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const grab = () => {
    const places = [...down.values()];
    const middle = [0, 1].map((axis) => places.reduce((sum, place) => sum + place[axis], 0) / places.length);
    const spread = places.length > 1 ? Math.hypot(places[0][0] - places[1][0], places[0][1] - places[1][1]) : 0;
    return { middle, spread, plane: view.toDisk(...middle), isometry: view.isometry };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    disk.hold();
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at(event));
    grip = { ...grab(), still: down.size === 1, start: at(event) };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!down.has(event.pointerId)) {
      if (event.pointerType === "mouse") point(disk, disk.pick(...at(event)));
      return;
    }
    down.set(event.pointerId, at(event));
    const now = grab();
    if (grip.still && Math.hypot(now.middle[0] - grip.start[0], now.middle[1] - grip.start[1]) < STILL) return;
    grip.still = false;
    disk.pointed = -1;
    if (down.size > 1) {
      view.magnify(now.spread / Math.max(grip.spread, 1), ...now.middle);
      grip.spread = now.spread;
    }
    view.drag(grip.plane, view.toDisk(...now.middle), grip.isometry);
    if (down.size > 1) grip = { ...grab(), still: false };
    disk.invalidate();
  });
  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    if (event.type === "pointerup" && grip.still) {
      const found = disk.pick(...at(event), event.pointerType === "mouse" ? 12 : 24);
      if (found >= 0) open(found);
    }
    grip = down.size ? { ...grab(), still: false } : null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => point(disk, -1));
}

/** The wheel magnifies once the disk has been taken hold of, and scrolls the page before. */
function followWheel(disk) {
  const { canvas, view } = disk;
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      disk.hold();
      const box = canvas.getBoundingClientRect();
      const lines = event.deltaMode ? 30 : 1;
      view.magnify(Math.exp(-event.deltaY * lines * 0.0018), event.clientX - box.left, event.clientY - box.top);
      disk.invalidate();
    },
    { passive: false },
  );
}

function followKeys(disk, { open, point: tell, leave }) {
  const { canvas, view } = disk;
  let stops = [];
  const next = (back) => {
    if (!stops.length) stops = disk.central(STOPS);
    const place = stops.indexOf(disk.pointed) + (back ? -1 : 1);
    const found = disk.pointed < 0 && back ? -1 : (stops[place] ?? -1);
    if (found < 0) stops = [];
    point(disk, found);
    tell(found);
    return found >= 0;
  };
  const keys = {
    "+": () => view.magnify(1.3),
    "=": () => view.magnify(1.3),
    "-": () => view.magnify(1 / 1.3),
    Home: () => view.home(),
    Enter: () => disk.pointed >= 0 && open(disk.pointed),
    Escape: () => {
      point(disk, -1);
      leave();
    },
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Tab") {
      if (next(event.shiftKey)) event.preventDefault();
      return;
    }
    const step = STEPS[event.key];
    if (!step && !keys[event.key]) return;
    event.preventDefault();
    disk.hold();
    if (event.key !== "Enter") stops = [];
    if (step) view.walk(...step);
    else keys[event.key]();
    disk.invalidate();
  });
  canvas.addEventListener("blur", () => point(disk, -1));
}

function point(disk, index) {
  if (disk.pointed === index) return;
  disk.pointed = index;
  disk.invalidate();
}
