// What is drawn of a result: class ids of each pixel, from probabilities and a threshold, as mask, overlay or contour.

const LONGEST_SIDE = 1600;
const OVERLAY_SHARE = 0.3;

/** Size in pixels in which an image is drawn. */
export function drawnSize(width, height) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/** Pixels, RGBA, of a picture in another size; `smooth`: false keeps its colours as they are. */
export function pixelsOf(picture, width, height, smooth) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Class ids of one class, by levels 0..255 of its probability. */
export function idsOfLevels(levels, threshold) {
  const ids = new Uint8Array(levels.data.length / 4);
  const least = 255 * threshold;
  for (let place = 0; place < ids.length; place += 1) ids[place] = levels.data[4 * place] > least ? 1 : 0;
  return ids;
}

/** Class ids of a mask that is drawn in the colours of its classes. */
export function idsOfColours(pixels, colours) {
  const known = new Map(colours.map(([red, green, blue], id) => [(red << 16) | (green << 8) | blue, id]));
  const ids = new Uint8Array(pixels.data.length / 4);
  for (let place = 0; place < ids.length; place += 1) {
    const at = 4 * place;
    ids[place] = known.get((pixels.data[at] << 16) | (pixels.data[at + 1] << 8) | pixels.data[at + 2]) ?? 0;
  }
  return ids;
}

/** Share of each class in the pixels. */
export function shares(ids, classes) {
  const counts = new Array(classes).fill(0);
  for (const id of ids) counts[id] += 1;
  return counts.map((count) => count / ids.length);
}

/** Share of pixels in which two masks of one size differ. */
export function difference(one, other) {
  let count = 0;
  for (let place = 0; place < one.length; place += 1) count += one[place] === other[place] ? 0 : 1;
  return count / one.length;
}

/** Draw an image, ImageData or null, and class ids on a canvas, as `view` says. */
export function draw(canvas, size, image, ids, colours, view) {
  const [width, height] = size;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const out = context.createImageData(width, height);
  const data = out.data;
  if (image && view !== "mask") data.set(image.data);
  for (let place = 0; place < ids.length; place += 1) {
    const at = 4 * place;
    data[at + 3] = 255;
    const id = ids[place];
    if (view === "mask") {
      data.set(colours[id] ?? [0, 0, 0], at);
    } else if (view === "overlay" && id) {
      for (let band = 0; band < 3; band += 1) {
        data[at + band] = (1 - OVERLAY_SHARE) * data[at + band] + OVERLAY_SHARE * colours[id][band];
      }
    }
  }
  if (view === "contour" || view === "overlay") contours(data, ids, width, height, colours);
  context.putImageData(out, 0, 0);
}

/** Outline each region: a line in a light form of its colour inside, and a dark one outside, seen on any ground. */
function contours(data, ids, width, height, colours) {
  const reach = Math.max(2, Math.round(Math.max(width, height) / 500));
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const place = y * width + x;
      const id = ids[place];
      const other = neighbour(ids, x, y, width, height, reach, id);
      if (other < 0) continue;
      const colour = id ? light(colours[id]) : [0, 0, 0];
      if (id || other) data.set(colour, 4 * place);
    }
  }
}

/** Class of a pixel within `reach` that differs from `id`; -1 where there is none. */
function neighbour(ids, x, y, width, height, reach, id) {
  for (let step = 1; step <= reach; step += 1) {
    if (x >= step && ids[y * width + x - step] !== id) return ids[y * width + x - step];
    if (x + step < width && ids[y * width + x + step] !== id) return ids[y * width + x + step];
    if (y >= step && ids[(y - step) * width + x] !== id) return ids[(y - step) * width + x];
    if (y + step < height && ids[(y + step) * width + x] !== id) return ids[(y + step) * width + x];
  }
  return -1;
}

function light(colour) {
  const most = Math.max(...colour, 1);
  return colour.map((level) => Math.round(Math.min(255, (level / most) * 200 + 55)));
}
