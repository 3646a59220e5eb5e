// The map of free bikes.
export const TILE_URL = "https://tiles.pedalway.example/{z}/{x}/{y}.png";
export const START = { lat: 51.0543, lon: 3.7174, zoom: 14 };
const REFRESH_MS = 25000;
const MAX_PINS = 400;
let colours = { free: "#2a9d4b", empty: "#c0392b", closed: "#7f8c8d" };

export class StationPin {
  constructor(station, radius = 11) {
    this.station = station;
    this.radius = radius;
  }

  colour() {
    if (this.station.closed) return colours.closed;
    return this.station.bikes > 0 ? colours.free : colours.empty;
  }
}

export async function fetchStations(url, { timeout = 6000, signal } = {}) {
  const answer = await fetch(url, { signal: signal ?? AbortSignal.timeout(timeout) });
  if (!answer.ok) throw new Error(`stations: ${answer.status}`);
  return answer.json();
}

export function nearest(stations, here, count = 5) {
  const far = (s) => Math.hypot(s.lat - here.lat, s.lon - here.lon);
  return [...stations].sort((a, b) => far(a) - far(b)).slice(0, count);
}

const debounce = (run, wait = 200) => {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), wait);
  };
};
