// The basket: lines, discounts and the total.

export interface Line {
  article: string;
  count: number;
  unitPrice: number;
}

export const FREE_SHIPPING_FROM = 650;
const SHIPPING = 49;

export class Basket {
  private lines: Line[] = [];

  add(line: Line): void {
    const known = this.lines.find((one) => one.article === line.article);
    if (known) known.count += line.count;
    else this.lines.push(line);
  }

  subtotal(): number {
    return this.lines.reduce((sum, line) => sum + line.count * line.unitPrice, 0);
  }

  total(code?: string): number {
    const reduced = this.subtotal() * (1 - discountFor(code));
    return reduced >= FREE_SHIPPING_FROM ? reduced : reduced + SHIPPING;
  }
}

/** Returns the share that a voucher takes off; unknown codes take nothing off. */
export function discountFor(code?: string): number {
  if (code === "WELCOME") return 0.1;
  if (code === "STAFF") return 0.3;
  return 0;
}
