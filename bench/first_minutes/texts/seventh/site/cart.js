// Shopping cart of the farm shop. No framework on purpose.
import { fetchJson } from './net.js';

export const FREE_SHIPPING_FROM = 79;
export const SHIPPING_FEE = 5.9;
const MAX_LINES = 35;
const VAT = { food: 0.07, plants: 0.07, tools: 0.19 };
const STORAGE_KEY = 'farmshop.cart.v4';
const SAVE_DELAY_MS = 650;
const COUPON_PATTERN = /^[A-Z]{3}-\d{4}$/;

let saveTimer = null;

export class CartFullError extends Error {
  constructor() {
    super(`No more than ${MAX_LINES} lines in a cart`);
    this.code = 'E_CART_FULL';
  }
}

export class Cart {
  #lines = new Map();
  coupon = null;

  static load() {
    const cart = new Cart();
    const raw = localStorage.getItem(STORAGE_KEY);
    if (raw) for (const line of JSON.parse(raw)) cart.#lines.set(line.sku, line);
    return cart;
  }

  add(sku, price, kind = 'food', count = 1) {
    if (!this.#lines.has(sku) && this.#lines.size >= MAX_LINES) throw new CartFullError();
    const line = this.#lines.get(sku) ?? { sku, price, kind, count: 0 };
    line.count += count;
    this.#lines.set(sku, line);
    this.scheduleSave();
  }

  subtotal() {
    let sum = 0;
    for (const { price, count } of this.#lines.values()) sum += price * count;
    return sum;
  }

  shipping() {
    return this.subtotal() >= FREE_SHIPPING_FROM ? 0 : SHIPPING_FEE;
  }

  // Prices already contain VAT, so it is taken out, not put on top.
  vatShare() {
    let vat = 0;
    for (const l of this.#lines.values()) vat += (l.price * l.count * VAT[l.kind]) / (1 + VAT[l.kind]);
    return Math.round(vat * 100) / 100;
  }

  // Writing at each click made old phones stutter, hence the delay.
  scheduleSave() {
    clearTimeout(saveTimer);
    saveTimer = setTimeout(() => {
      localStorage.setItem(STORAGE_KEY, JSON.stringify([...this.#lines.values()]));
    }, SAVE_DELAY_MS);
  }
}

export async function applyCoupon(cart, text) {
  const code = text.trim().toUpperCase();
  if (!COUPON_PATTERN.test(code)) return false;
  const answer = await fetchJson(`/api/coupons/${code}`, { retries: 2 });
  cart.coupon = answer.valid ? answer : null;
  return answer.valid;
}
