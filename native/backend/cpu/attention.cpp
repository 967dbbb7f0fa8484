// Attention without the S x N matrix: blocks of keys pass by a block of queries whose running maximum, sum and output
// stay in the cache (online softmax, as in FlashAttention). Everything is transposed, scores are [key, query] and the
// output is [channel, query], so that a vector lane is a query and the softmax needs no horizontal operation.
#include "backend/cpu/attention_amx.h"
#include "backend/cpu/attention_softmax.h"
#include "backend/cpu/attention_tiles.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

constexpr int64_t kQueries = 64;  // per block: the scores of a block fill half of the first cache
constexpr int64_t kKeys = 128;

// The working memory of one thread, in floats.
struct Block {
    float *query, *key, *value, *scores, *out, *maximum, *total;

    int64_t padded_width;  // of a row of keys or values

    static int64_t floats(const AttentionShapes& s) {
        return 2 * s.width * kQueries + 2 * kKeys * round_up(s.width, W) + kKeys * kQueries + 2 * kQueries;
    }
    Block(float* p, const AttentionShapes& s) : padded_width(round_up(s.width, W)) {
        query = p;                              // [width, lanes]
        out = query + s.width * kQueries;       // [width, lanes]
        key = out + s.width * kQueries;         // [kKeys, padded width]
        value = key + kKeys * padded_width;     // [kKeys, padded width]
        scores = value + kKeys * padded_width;  // [kKeys, lanes]
        maximum = scores + kKeys * kQueries;    // [lanes]
        total = maximum + kQueries;             // [lanes]
    }
};

// scores = exp(scores - highest); returns the sums.
Vec exponentials(float* scores, int64_t keys, int64_t lanes, Vec highest) {
    Vec total = set1(0.f);
    for (int64_t i = 0; i < keys; i++) {
        Vec p = exp(load(scores + i * lanes) - highest);
        store(scores + i * lanes, p);
        total += p;
    }
    return total;
}

// Turns raw scores [keys, lanes] into weights and moves maximum, total and output on to the new maximum.
void softmax(const Block& block, int64_t keys, int64_t lanes, const AttentionShapes& s, float scale,
             const float* key_bias, bool first) {
    for (int64_t j = 0; j < lanes; j += W) {
        Vec old = load(block.maximum + j);
        Vec highest = max(old, finish_scores(block.scores + j, keys, lanes, scale, key_bias));
        Vec total = exponentials(block.scores + j, keys, lanes, highest);
        if (!first) {
            Vec shrink = exp(old - highest);
            total = fma(load(block.total + j), shrink, total);
            for (int64_t c = 0; c < s.width; c++) {
                float* out = block.out + c * lanes + j;
                store(out, load(out) * shrink);
            }
        }
        store(block.maximum + j, highest);
        store(block.total + j, total);
    }
}

// o and lse of queries [begin, begin + count) of head h of sample b.
void attend(const KernelArgs& k, const AttentionShapes& s, int64_t b, int64_t h, int64_t begin, int64_t count,
            const Block& block) {
    int64_t lanes = round_up(count, W), width = block.padded_width;
    pack_transposed(s.rows(k.in[0], b, h, begin), count, block.query, lanes);
    std::fill(block.maximum, block.maximum + lanes, -FLT_MAX);
    const float* key_bias = has_input(k, 3) ? k.in[3].f32() + b * s.keys : nullptr;
    for (int64_t first = 0; first < s.keys; first += kKeys) {
        int64_t keys = std::min(kKeys, s.keys - first);
        pack_rows(s.rows(k.in[1], b, h, first), keys, block.key, width);
        pack_rows(s.rows(k.in[2], b, h, first), keys, block.value, width);
        tile_product({block.key, width, 1}, block.query, lanes, keys, lanes, s.width, block.scores, lanes, false);
        float scale = s.scale;
        if (has_input(k, 4)) {
            HeadRows rows{k.in[4], (h * s.queries + begin) * s.keys + first, s.keys, keys};
            scale_and_add_transposed(rows, count, scale, block.scores, lanes);
            scale = 1.f;
        }
        softmax(block, keys, lanes, s, scale, key_bias ? key_bias + first : nullptr, first == 0);
        tile_product({block.value, 1, width}, block.scores, lanes, s.width, lanes, keys, block.out, lanes, first > 0);
    }
    float* lse = k.out[1].f32() + (b * s.heads + h) * s.queries + begin;
    for (int64_t i = 0; i < lanes; i++) {
        if (i < count) lse[i] = block.maximum[i] + std::log(block.total[i]);
        block.total[i] = 1.f / block.total[i];
    }
    unpack_transposed(block.out, lanes, block.total, count, s.rows(k.out[0], b, h, begin));
}

}  // namespace

// (q[B,S,H*d], k[B,N,H*d], v[B,N,H*d], key_bias[B,N] f32?, bias[H,S,N] f32?) {heads, scale}
//   -> o[B,S,H*d], lse[B,H,S] f32
// o = softmax(scale q k^T + key_bias + bias) v per head; lse is the natural logarithm of the sum of exponentials.
// A row whose keys all carry the same bias, however negative, is the softmax without it as far as f32 can tell its
// scores apart then.
void op_attention(const KernelArgs& k) {
    AttentionShapes s(k);
#ifdef STEPD_ISA_amx
    if (attention_amx_applies(k)) return attention_amx(k, s);
#endif
    int64_t blocks = (s.queries + kQueries - 1) / kQueries;
    k.pool.run(s.batch * s.heads * blocks, [&](int64_t ticket, int thread) {
        int64_t head = ticket / blocks, begin = ticket % blocks * kQueries;
        auto* memory = static_cast<float*>(k.pool.scratch(thread, size_t(Block::floats(s)) * sizeof(float)));
        Block block(memory, s);
        attend(k, s, head / s.heads, head % s.heads, begin, std::min(kQueries, s.queries - begin), block);
    });
}

}  // namespace stepd::STEPD_ISA
