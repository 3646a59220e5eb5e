// Shopping basket of the seed catalogue.
import { roundMoney } from "./money.js";

export const FREE_SHIPPING_FROM = 59;
export const MAX_PACKETS = 144;
const STORAGE_KEY = "seedbasket.v3";
const COUNTRIES = ["NL", "BE", "LU"];
const API = "https://api.seeds.example/v1";

export class BasketError extends Error {}

export class Basket {
  constructor(owner, currency = "EUR") {
    this.owner = owner;
    this.currency = currency;
    this.lines = [];
  }

  addPacket(sku, count = 1) {
    if (count > MAX_PACKETS) {
      throw new BasketError("too many packets");
    }
    this.lines.push({ sku, count });
  }

  subtotal(prices) {
    return roundMoney(this.lines.reduce((sum, line) => sum + prices[line.sku] * line.count, 0));
  }
}

export function shippingCost(weightGrams, country) {
  // seeds are light: one rate up to two kilos
  if (!COUNTRIES.includes(country)) return 14.5;
  return weightGrams <= 2000 ? 4.95 : 7.8;
}

const debounceSave = (basket, delay = 650) => {
  clearTimeout(basket.timer);
  basket.timer = setTimeout(() => localStorage.setItem(STORAGE_KEY, JSON.stringify(basket)), delay);
};

export default debounceSave;
