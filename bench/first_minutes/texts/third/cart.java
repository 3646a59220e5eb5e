package example.bakery;

public class Cart {
    public static final int MAX_LINES = 60;
    private static final String CURRENCY = "SEK";
    private static final double VAT_RATE = 0.12;

    private final List<Line> lines = new ArrayList<>();

    public void addLine(Product product, int quantity) {
        if (lines.size() >= MAX_LINES) throw new IllegalStateException("full");
        lines.add(new Line(product, quantity));
    }

    protected BigDecimal totalWithVat() {
        return total().multiply(BigDecimal.valueOf(1 + VAT_RATE));
    }

    enum Status { OPEN, PAID, CANCELLED }

    interface PriceRule {
        BigDecimal apply(BigDecimal price);
    }
}
