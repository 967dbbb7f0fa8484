// Gradient of attention from the saved log-sum-exp. With P = exp(scale q k^T + key_bias - lse) and delta = rowsum(do
// o):
//   dv = P^T do,  dP = do v^T,  dS = scale P (dP - delta),  dq = dS k,  dk = dS^T q
// in blocks of queries x keys, a vector lane being a key (FlashAttention's backward pass, keys outside, queries
// inside).
#include <cstring>

#include "backend/cpu/attention_tiles.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

constexpr int64_t kQueries = 64;
constexpr int64_t kKeys = 128;
constexpr int64_t kEnoughTickets = 16;  // with fewer heads than this, the keys of a head are divided as well

enum Input { kQ, kK, kV, kKeyBias, kO, kLse, kDo };
enum Output { kDq, kDk, kDv };

struct Shapes {
    int64_t batch, queries, keys, heads, width;
    float scale;

    int64_t ld() const { return heads * width; }
    int64_t padded_width() const { return round_up(width, W); }
    int64_t key_blocks() const { return (keys + kKeys - 1) / kKeys; }
    // Number of tickets that share the keys of one head; depends on the shape alone.
    int64_t parts() const {
        int64_t all = batch * heads;
        return all >= kEnoughTickets ? 1 : std::min(key_blocks(), (kEnoughTickets + all - 1) / all);
    }
    int64_t dq_floats() const { return queries * padded_width(); }
    HeadRows rows(const Tensor& t, int64_t b, int64_t h, int64_t first) const {
        return {t, (b * t.dim(1) + first) * ld() + h * width, ld(), width};
    }
};

// The working memory of one thread, in floats.
struct Block {
    float *delta, *key, *key_t, *value_t, *key_bias, *dkey, *dvalue;  // of one block of keys (delta: of all queries)
    float *query, *dout, *weights, *dscores;                          // of one block of queries

    static int64_t floats(const Shapes& s) { return Block(nullptr, s).weights_end_; }
    Block(float* p, const Shapes& s) {
        int64_t used = 0, width = s.padded_width();
        auto take = [&](int64_t count) {
            used += round_up(count, W);
            return p ? p + used - round_up(count, W) : nullptr;
        };
        delta = take(s.queries);
        key = take(kKeys * width);
        key_t = take(kKeys * width);
        value_t = take(kKeys * width);
        key_bias = take(kKeys);
        dkey = take(kKeys * width);
        dvalue = take(kKeys * width);
        query = take(kQueries * width);
        dout = take(kQueries * width);
        weights = take(kQueries * kKeys);
        dscores = take(kQueries * kKeys);
        weights_end_ = used;
    }

private:
    int64_t weights_end_;
};

// delta[i] = sum over channels of do(i, c) o(i, c)
void row_products(const HeadRows& dout, const HeadRows& out, int64_t rows, float* delta) {
    with_types(
        [&](const auto* x, const auto* y) {
            for (int64_t i = 0; i < rows; i++) {
                Vec total = set1(0.f);
                for_vectors(dout.width, [&](int64_t c, auto lanes) {
                    int64_t at = i * dout.ld + c;
                    total = fma(load(x + dout.first + at, lanes), load(y + out.first + at, lanes), total);
                });
                delta[i] = sum(total);
            }
        },
        dout.tensor, out.tensor);
}

// In place: scores -> P, dP -> dS.
void differentiate_softmax(const Block& block, int64_t queries, int64_t lanes, const float* lse, const float* delta,
                           float scale) {
    for (int64_t i = 0; i < queries; i++) {
        Vec row_lse = set1(lse[i]), row_delta = set1(delta[i]);
        for (int64_t j = 0; j < lanes; j += W) {
            float *weight = block.weights + i * lanes + j, *dscore = block.dscores + i * lanes + j;
            Vec p = exp(fma(load(weight), set1(scale), load(block.key_bias + j)) - row_lse);
            store(weight, p);
            store(dscore, p * (load(dscore) - row_delta) * set1(scale));
        }
    }
}

// One block of keys against all queries: writes dk and dv of the block, adds to dq[S, padded width].
void key_block(const KernelArgs& k, const Shapes& s, int64_t b, int64_t h, int64_t first, const Block& block, float* dq,
               bool first_block) {
    int64_t keys = std::min(kKeys, s.keys - first), lanes = round_up(keys, W), width = s.padded_width();
    pack_rows(s.rows(k.in[kK], b, h, first), keys, block.key, width);
    pack_transposed(s.rows(k.in[kK], b, h, first), keys, block.key_t, lanes);
    pack_transposed(s.rows(k.in[kV], b, h, first), keys, block.value_t, lanes);
    std::fill(block.key_bias, block.key_bias + lanes, 0.f);
    if (k.in[kKeyBias])
        std::memcpy(block.key_bias, k.in[kKeyBias].f32() + b * s.keys + first, size_t(keys) * sizeof(float));
    const float* lse = k.in[kLse].f32() + (b * s.heads + h) * s.queries;
    for (int64_t i = 0; i < s.queries; i += kQueries) {
        int64_t queries = std::min(kQueries, s.queries - i);
        pack_rows(s.rows(k.in[kQ], b, h, i), queries, block.query, width);
        pack_rows(s.rows(k.in[kDo], b, h, i), queries, block.dout, width);
        tile_product({block.query, width, 1}, block.key_t, lanes, queries, lanes, s.width, block.weights, lanes, false);
        tile_product({block.dout, width, 1}, block.value_t, lanes, queries, lanes, s.width, block.dscores, lanes,
                     false);
        differentiate_softmax(block, queries, lanes, lse + i, block.delta + i, s.scale);
        tile_product({block.weights, 1, lanes}, block.dout, width, keys, width, queries, block.dvalue, width, i > 0);
        tile_product({block.dscores, 1, lanes}, block.query, width, keys, width, queries, block.dkey, width, i > 0);
        tile_product({block.dscores, lanes, 1}, block.key, width, queries, width, keys, dq + i * width, width,
                     !first_block);
    }
    unpack_rows(block.dkey, width, keys, s.rows(k.out[kDk], b, h, first));
    unpack_rows(block.dvalue, width, keys, s.rows(k.out[kDv], b, h, first));
}

// dq of one head = the sum of its parts, in order.
void add_parts(const KernelArgs& k, const Shapes& s, int64_t head, float* parts) {
    for (int64_t part = 1; part < s.parts(); part++)
        for (int64_t i = 0; i < s.dq_floats(); i += W)
            store(parts + i, load(parts + i) + load(parts + part * s.dq_floats() + i));
    unpack_rows(parts, s.padded_width(), s.queries, s.rows(k.out[kDq], head / s.heads, head % s.heads, 0));
}

}  // namespace

// (q[B,S,H*d], k[B,N,H*d], v[B,N,H*d], key_bias[B,N] f32?, o[B,S,H*d], lse[B,H,S] f32, do[B,S,H*d]) {heads, scale}
// -> dq, dk, dv. One ticket is one head, or a fixed part of its keys when there are few heads.
void op_attention_bwd(const KernelArgs& k) {
    int64_t heads = int64_t(k.attr("heads"));
    Shapes s{k.in[kQ].dim(0), k.in[kQ].dim(1), k.in[kK].dim(1), heads, k.in[kQ].dim(2) / heads, float(k.attr("scale"))};
    int64_t parts = s.parts(), work = Block::floats(s) + (parts == 1 ? s.dq_floats() : 0);
    int64_t shared = parts == 1 ? 0 : s.batch * heads * parts * s.dq_floats();
    auto* memory = static_cast<float*>(k.pool.scratch(0, size_t(shared + k.pool.threads() * work) * sizeof(float)));
    k.pool.run(s.batch * heads * parts, [&](int64_t ticket, int thread) {
        int64_t head = ticket / parts, part = ticket % parts, b = head / heads, h = head % heads;
        float* own = memory + shared + thread * work;
        Block block(own, s);
        float* dq = parts == 1 ? own + Block::floats(s) : memory + ticket * s.dq_floats();
        row_products(s.rows(k.in[kDo], b, h, 0), s.rows(k.in[kO], b, h, 0), s.queries, block.delta);
        int64_t begin = s.key_blocks() * part / parts, end = s.key_blocks() * (part + 1) / parts;
        for (int64_t i = begin; i < end; i++) key_block(k, s, b, h, i * kKeys, block, dq, i == begin);
        if (parts == 1) unpack_rows(dq, s.padded_width(), s.queries, s.rows(k.out[kDq], b, h, 0));
    });
    if (parts == 1) return;
    k.pool.run(s.batch * heads,
               [&](int64_t head, int) { add_parts(k, s, head, memory + head * parts * s.dq_floats()); });
}

}  // namespace stepd::STEPD_ISA
