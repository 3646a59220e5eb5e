/* ringbuf.c - byte ring for the GPS receiver
 * Copyright (c) 2017 Solveig Tangen. BSD-2-Clause.
 */
#include <stdint.h>
#include <string.h>
#include "ringbuf.h"

#define RB_SIZE        1024u   /* must be a power of two */
#define RB_MASK        (RB_SIZE - 1u)
#define RB_HIGH_WATER  896u
#define GPS_BAUD       38400
#define NMEA_MAX       82      /* including CR LF */
#define RB_EFULL       (-12)
#define RB_EEMPTY      (-13)

static volatile uint16_t head, tail;
static uint8_t           store[RB_SIZE];
static uint32_t          overruns;

enum rb_state { RB_IDLE = 0, RB_FILLING = 1, RB_STALLED = 7 };

static enum rb_state state = RB_IDLE;

uint16_t rb_used(void)
{
    return (uint16_t)((head - tail) & RB_MASK);
}

/* Called from the interrupt. Old bytes are kept and the new one is dropped,
 * as half a sentence is worse than none. */
int rb_put(uint8_t byte)
{
    if (rb_used() == RB_MASK) {
        overruns++;
        state = RB_STALLED;
        return RB_EFULL;
    }
    store[head & RB_MASK] = byte;
    head++;
    state = RB_FILLING;
    return 0;
}

int rb_get(uint8_t *out)
{
    if (head == tail)
        return RB_EEMPTY;
    *out = store[tail & RB_MASK];
    tail++;
    return 0;
}

/* XOR over everything between '$' and '*', per NMEA 0183. */
uint8_t nmea_checksum(const char *s)
{
    uint8_t sum = 0;
    while (*s && *s != '*')
        sum ^= (uint8_t)*s++;
    return sum;
}

uint32_t rb_overruns(void) { return overruns; }

void rb_reset(void)
{
    head = tail = 0;
    overruns = 0;
    memset(store, 0, sizeof store);
    state = RB_IDLE;
}
