export const DEFAULT_LOCALE = "sv-SE";
export const RETRY_DELAYS = [100, 400, 1600];
const secondsPerDay = 86_400;

export interface Order {
  id: string;
  pickup: Date;
}

export type OrderState = "new" | "baking" | "ready";

export const formatPrice = (ore: number): string => `${(ore / 100).toFixed(2)} kr`;

export default class OrderQueue<T extends Order> {
  private readonly capacity = 120;

  enqueue(order: T): void {
    console.log(order.id);
  }
}
