// attention on AMX tiles, transposed as in attention.cpp: scores are [key, query], so that softmax works lane by lane
// and the weights come out in the order in which the second product wants them.
#ifdef STEPD_ISA_amx

#include "backend/cpu/attention_amx.h"

#include "backend/cpu/attention_softmax.h"
#include "backend/cpu/attention_tile_block.h"
#include "backend/cpu/attention_tiles.h"

namespace stepd::STEPD_ISA {
namespace {

constexpr int64_t kQueries = 256;  // per ticket: each block of keys is packed once for all of them
constexpr int64_t kKeys = 256;     // per block

// The working memory of one thread. A panel is 32 rows or columns, see tile_pack.h.
struct Block {
    int64_t depth;                        // steps along the channels of a head, and panels of channels
    bf16 *query, *key, *value, *weights;  // [query panels][depth], [key panels][depth], [depth][key steps], [key steps]
    float *scores, *out, *maximum, *total;  // [kKeys, 32], [query panels][32 * depth, 32], [kQueries], [kQueries]

    static size_t bytes(const AttentionShapes& s) {
        int64_t depth = steps_of(s.width), packed = depth * (kQueries + 2 * kKeys) * kStepDepth + kKeys * kStepRows;
        int64_t floats = kKeys * kStepRows + depth * kStepRows * kQueries + 2 * kQueries;
        return size_t(packed) * sizeof(bf16) + size_t(floats) * sizeof(float);
    }
    Block(void* memory, const AttentionShapes& s) : depth(steps_of(s.width)) {
        query = static_cast<bf16*>(memory);
        key = query + depth * kQueries * kStepDepth;
        value = key + depth * kKeys * kStepDepth;
        weights = value + depth * kKeys * kStepDepth;
        scores = reinterpret_cast<float*>(weights + kKeys * kStepRows);
        out = scores + kKeys * kStepRows;
        maximum = out + depth * kStepRows * kQueries;
        total = maximum + kQueries;
    }
    float* out_of(int64_t panel) const { return out + panel * depth * kBlockFloats; }
};

struct KeyRange {
    int64_t first, count;
    int64_t panels() const { return steps_of(count); }
};

// weights = exp(scores - highest) of 16 queries as one tile of each B step; returns the sums.
Vec exponentials(const float* scores, int64_t keys, Vec highest, bf16* weights) {
    Vec total = set1(0.f);
    for (int64_t i = 0; i < steps_of(keys) * kStepDepth; i += 2) {
        Vec even = i < keys ? rough_exp(load(scores + i * kStepRows) - highest) : set1(0.f);
        Vec odd = i + 1 < keys ? rough_exp(load(scores + (i + 1) * kStepRows) - highest) : set1(0.f);
        store_paired(weights + i / kStepDepth * kStepSize + i % kStepDepth * W, even, odd);
        total += even + odd;
    }
    return total;
}

// Scores of 32 queries to weights; maximum, total and output move on to the new maximum.
void softmax(const Block& block, int64_t panel, const KeyRange& keys, float scale, const float* key_bias) {
    for (int64_t half = 0; half < 2; half++) {
        int64_t j = half * kTileRows, at = panel * kStepRows + j;
        Vec old = load(block.maximum + at);
        Vec highest = max(old, finish_scores(block.scores + j, keys.count, kStepRows, scale, key_bias));
        Vec total = exponentials(block.scores + j, keys.count, highest, block.weights + half * kTileSize);
        if (keys.first > 0) {
            Vec shrink = exp(old - highest);
            total = fma(load(block.total + at), shrink, total);
            if (maximum(highest - old) > 0.f) {
                float* out = block.out_of(panel) + j;
                for (int64_t c = 0; c < block.depth * kStepRows; c++)
                    store(out + c * kStepRows, load(out + c * kStepRows) * shrink);
            }
        }
        store(block.maximum + at, highest);
        store(block.total + at, total);
    }
}

void pack_keys(const KernelArgs& k, const AttentionShapes& s, int64_t b, int64_t h, const KeyRange& keys,
               const Block& block) {
    const bf16* key = k.in[1].bf16() + s.rows(k.in[1], b, h, keys.first).first;
    const bf16* value = k.in[2].bf16() + s.rows(k.in[2], b, h, keys.first).first;
    for (int64_t p = 0; p < keys.panels(); p++)
        pack_tile_panel(key + p * kStepRows * s.ld(), s.ld(), true, false, keys.count - p * kStepRows, s.width,
                        block.key + p * block.depth * kStepSize);
    for (int64_t c = 0; c < block.depth; c++)
        pack_tile_panel(value + c * kStepRows, s.ld(), false, false, s.width - c * kStepRows, keys.count,
                        block.value + c * keys.panels() * kStepSize);
}

// One block of keys against 32 queries, of which `queries` exist; they begin at row `begin` of the sample.
void attend_panel(const KernelArgs& k, const AttentionShapes& s, int64_t b, int64_t h, int64_t begin, int64_t queries,
                  int64_t panel, const KeyRange& keys, const Block& block) {
    for (int64_t p = 0; p < keys.panels(); p++)
        tile_block(block.key + p * block.depth * kStepSize, block.query + panel * block.depth * kStepSize, block.depth,
                   block.scores + p * kBlockFloats, kStepRows, false);
    float scale = s.scale;
    if (has_input(k, 4)) {
        HeadRows rows{k.in[4], (h * s.queries + begin) * s.keys + keys.first, s.keys, keys.count};
        scale_and_add_transposed(rows, queries, scale, block.scores, kStepRows);
        scale = 1.f;
    }
    softmax(block, panel, keys, scale, has_input(k, 3) ? k.in[3].f32() + b * s.keys + keys.first : nullptr);
    for (int64_t c = 0; c < block.depth; c++)
        tile_block(block.value + c * keys.panels() * kStepSize, block.weights, keys.panels(),
                   block.out_of(panel) + c * kBlockFloats, kStepRows, keys.first > 0);
}

// o and lse of queries [begin, begin + count) of head h of sample b.
void attend(const KernelArgs& k, const AttentionShapes& s, int64_t b, int64_t h, int64_t begin, int64_t count,
            const Block& block) {
    TileScope tiles;
    const bf16* query = k.in[0].bf16() + s.rows(k.in[0], b, h, begin).first;
    std::fill(block.maximum, block.maximum + kQueries, -FLT_MAX);
    for (int64_t p = 0; p < steps_of(count); p++)
        pack_tile_panel(query + p * kStepRows * s.ld(), s.ld(), true, true, count - p * kStepRows, s.width,
                        block.query + p * block.depth * kStepSize);
    for (int64_t first = 0; first < s.keys; first += kKeys) {
        KeyRange keys{first, std::min(kKeys, s.keys - first)};
        pack_keys(k, s, b, h, keys, block);
        for (int64_t p = 0; p < steps_of(count); p++)
            attend_panel(k, s, b, h, begin + p * kStepRows, std::min(kStepRows, count - p * kStepRows), p, keys, block);
    }
    float* lse = k.out[1].f32() + (b * s.heads + h) * s.queries + begin;
    for (int64_t i = 0; i < steps_of(count) * kStepRows; i++) {
        if (i < count) lse[i] = block.maximum[i] + std::log(block.total[i]);
        block.total[i] = 1.f / block.total[i];
    }
    for (int64_t p = 0; p < steps_of(count); p++)
        unpack_transposed(block.out_of(p), kStepRows, block.total + p * kStepRows,
                          std::min(kStepRows, count - p * kStepRows), s.rows(k.out[0], b, h, begin + p * kStepRows));
}

}  // namespace

bool attention_amx_applies(const KernelArgs& k) {
    return k.in[0].dtype == DType::bf16 && k.in[1].dtype == DType::bf16 && k.in[2].dtype == DType::bf16;
}

void attention_amx(const KernelArgs& k, const AttentionShapes& s) {
    int64_t blocks = (s.queries + kQueries - 1) / kQueries;
    k.pool.run(s.batch * s.heads * blocks, [&](int64_t ticket, int thread) {
        int64_t head = ticket / blocks, begin = ticket % blocks * kQueries;
        Block block(k.pool.scratch(thread, Block::bytes(s)), s);
        attend(k, s, head / s.heads, head % s.heads, begin, std::min(kQueries, s.queries - begin), block);
    });
}

}  // namespace stepd::STEPD_ISA

#endif
