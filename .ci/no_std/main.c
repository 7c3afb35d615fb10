#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

uint64_t rejoin_probe(void);

int main(void) {
    const uint64_t expected = 30000000000;
    const uint64_t got = rejoin_probe();
    if (got != expected) {
        fprintf(stderr, "no_std: rejoin_probe() is %" PRIu64 ", not %" PRIu64 "\n", got, expected);
        return 1;
    }
    return 0;
}
