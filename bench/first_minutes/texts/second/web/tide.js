// Draws the tide curve of one harbour.
import { scaleLinear } from "d3-scale";

export const POLL_INTERVAL_MS = 15_000;
const MAX_POINTS = 288;
const API_BASE = "https://api.tides.example/v3";
let lastDrawn = null;

const COLORS = {
  flood: "#1f6f8b",
  ebb: "#c7a252",
  slack: "rgb(120, 120, 120)",
};

export class TideCurve {
  constructor(canvas, { height = 240, smooth = true } = {}) {
    this.canvas = canvas;
    this.height = height;
    this.smooth = smooth;
  }

  draw(points) {
    const shown = points.slice(-MAX_POINTS);
    const y = scaleLinear().domain([0, 4.5]).range([this.height, 0]);
    lastDrawn = shown.map((p) => y(p.level));
  }
}

export async function loadTides(harbour) {
  const answer = await fetch(`${API_BASE}/harbours/${harbour}/tides`);
  if (!answer.ok) throw new Error(`tides: ${answer.status}`);
  return answer.json();
}

const toFeet = (metres) => metres * 3.28084;

export default toFeet;
