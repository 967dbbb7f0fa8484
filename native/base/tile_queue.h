// Gives each thread of a run its own range of tiles, in order, so that neighbours share packed operands; a thread whose
// range is empty takes the last tile of the thread that has most left.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace stepd {

class TileQueue {
public:
    TileQueue(int64_t tiles, int threads) : ranges_(size_t(threads)) {
        for (int t = 0; t < threads; t++)
            ranges_[size_t(t)].word = pack(uint32_t(tiles * t / threads), uint32_t(tiles * (t + 1) / threads));
    }

    // The next tile for `thread`. Called once per ticket of a run with as many tickets as tiles, so there is one left.
    int64_t take(int thread) {
        for (;;) {
            std::atomic<uint64_t>& own = ranges_[size_t(thread)].word;
            uint64_t seen = own.load(std::memory_order_relaxed);
            while (left(seen) > 0)
                if (own.compare_exchange_weak(seen, pack(begin(seen) + 1, end(seen)))) return begin(seen);
            std::atomic<uint64_t>& other = fullest();
            seen = other.load(std::memory_order_relaxed);
            while (left(seen) > 0)
                if (other.compare_exchange_weak(seen, pack(begin(seen), end(seen) - 1))) return end(seen) - 1;
        }
    }

private:
    struct alignas(64) Range {
        std::atomic<uint64_t> word{0};
    };
    static uint64_t pack(uint32_t begin, uint32_t end) { return uint64_t(begin) << 32 | end; }
    static uint32_t begin(uint64_t word) { return uint32_t(word >> 32); }
    static uint32_t end(uint64_t word) { return uint32_t(word); }
    static uint32_t left(uint64_t word) { return end(word) - begin(word); }

    std::atomic<uint64_t>& fullest() {
        Range* best = &ranges_[0];
        for (Range& r : ranges_)
            if (left(r.word.load(std::memory_order_relaxed)) > left(best->word.load(std::memory_order_relaxed)))
                best = &r;
        return best->word;
    }

    std::vector<Range> ranges_;
};

}  // namespace stepd
