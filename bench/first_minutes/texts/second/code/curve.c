/* The tide curve, by harmonic constituents. */
#include <math.h>
#include "curve.h"

#define CONSTITUENTS 37
#define EPOCH_YEAR 1992
#define DEG2RAD(x) ((x) * 3.14159265358979 / 180.0)

static const double M2_SPEED = 28.9841042;
const char *version = "curve 1.8";

typedef struct {
    double amplitude;
    double phase;
} constituent_t;

enum datum { DATUM_MSL, DATUM_LAT = 5, DATUM_CHART };

static double speed_of(int index)
{
    return index == 0 ? M2_SPEED : 30.0;
}

double tide_height(const constituent_t *parts, int count, double hours)
{
    double height = 0.0;
    for (int i = 0; i < count; i++)
        height += parts[i].amplitude * cos(DEG2RAD(speed_of(i) * hours - parts[i].phase));
    return height;
}
