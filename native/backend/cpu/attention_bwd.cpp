// Gradient of attention from the saved log-sum-exp. With P = exp(scale q k^T + key_bias - lse) and delta = rowsum(do
// o):
//   dv = P^T do,  dP = do v^T,  dS = scale P (dP - delta),  dq = dS k,  dk = dS^T q
// in blocks of queries x keys, a vector lane being a key (FlashAttention's backward pass, keys outside, queries
// inside).
#include "backend/cpu/attention_bwd.h"

#include <cstring>

#include "backend/cpu/attention_amx.h"
#include "backend/cpu/attention_tiles.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

constexpr int64_t kQueries = 64;  // per block

class BlockPass {
public:
    static constexpr int64_t kKeys = 128;

    static int64_t floats(const AttentionShapes& s) {
        int64_t width = round_up(s.width, W);
        return round_up(s.queries, W) + kKeys + (5 * kKeys + 2 * kQueries) * width + 2 * kQueries * kKeys;
    }
    static int64_t dq_floats(const AttentionShapes& s) { return s.queries * round_up(s.width, W); }

    BlockPass(const KernelArgs& k, const AttentionShapes& s, float* memory)
        : k_(k), s_(s), width_(round_up(s.width, W)), delta_(memory) {
        key_bias_ = delta_ + round_up(s.queries, W);
        key_ = key_bias_ + kKeys;
        key_t_ = key_ + kKeys * width_;
        value_t_ = key_t_ + kKeys * width_;
        dkey_ = value_t_ + kKeys * width_;
        dvalue_ = dkey_ + kKeys * width_;
        query_ = dvalue_ + kKeys * width_;
        dout_ = query_ + kQueries * width_;
        weights_ = dout_ + kQueries * width_;
        dscores_ = weights_ + kQueries * kKeys;
    }

    void start_head(int64_t b, int64_t h) {
        b_ = b;
        h_ = h;
        row_products(s_.rows(k_.in[kDo], b, h, 0), s_.rows(k_.in[kO], b, h, 0), s_.queries, delta_);
    }

    void key_block(int64_t first, float* dq, bool accumulate) {
        int64_t keys = std::min(kKeys, s_.keys - first), lanes = round_up(keys, W);
        pack_rows(s_.rows(k_.in[kK], b_, h_, first), keys, key_, width_);
        pack_transposed(s_.rows(k_.in[kK], b_, h_, first), keys, key_t_, lanes);
        pack_transposed(s_.rows(k_.in[kV], b_, h_, first), keys, value_t_, lanes);
        std::fill(key_bias_, key_bias_ + lanes, 0.f);
        if (const Tensor& bias = k_.in[kKeyBias])
            std::memcpy(key_bias_, bias.f32() + b_ * s_.keys + first, size_t(keys) * sizeof(float));
        for (int64_t i = 0; i < s_.queries; i += kQueries)
            query_block(i, std::min(kQueries, s_.queries - i), keys, lanes, dq + i * width_, accumulate);
        unpack_rows(dkey_, width_, keys, s_.rows(k_.out[kDk], b_, h_, first));
        unpack_rows(dvalue_, width_, keys, s_.rows(k_.out[kDv], b_, h_, first));
    }

    void store_dq(const float* dq, int64_t b, int64_t h) const {
        unpack_rows(dq, width_, s_.queries, s_.rows(k_.out[kDq], b, h, 0));
    }

private:
    // The packed block of keys against queries [first, first + queries).
    void query_block(int64_t first, int64_t queries, int64_t keys, int64_t lanes, float* dq, bool accumulate_dq) {
        pack_rows(s_.rows(k_.in[kQ], b_, h_, first), queries, query_, width_);
        pack_rows(s_.rows(k_.in[kDo], b_, h_, first), queries, dout_, width_);
        tile_product({query_, width_, 1}, key_t_, lanes, queries, lanes, s_.width, weights_, lanes, false);
        tile_product({dout_, width_, 1}, value_t_, lanes, queries, lanes, s_.width, dscores_, lanes, false);
        differentiate_softmax(first, queries, lanes);
        tile_product({weights_, 1, lanes}, dout_, width_, keys, width_, queries, dvalue_, width_, first > 0);
        tile_product({dscores_, 1, lanes}, query_, width_, keys, width_, queries, dkey_, width_, first > 0);
        tile_product({dscores_, lanes, 1}, key_, width_, queries, width_, keys, dq, width_, accumulate_dq);
    }

    // In place: scores -> P, dP -> dS.
    void differentiate_softmax(int64_t first, int64_t queries, int64_t lanes) {
        const float* lse = k_.in[kLse].f32() + (b_ * s_.heads + h_) * s_.queries + first;
        for (int64_t i = 0; i < queries; i++) {
            Vec row_lse = set1(lse[i]), delta = set1(delta_[first + i]);
            for (int64_t j = 0; j < lanes; j += W) {
                float *weight = weights_ + i * lanes + j, *dscore = dscores_ + i * lanes + j;
                Vec p = exp(fma(load(weight), set1(s_.scale), load(key_bias_ + j)) - row_lse);
                store(weight, p);
                store(dscore, p * (load(dscore) - delta) * set1(s_.scale));
            }
        }
    }

    const KernelArgs& k_;
    const AttentionShapes& s_;
    int64_t b_ = 0, h_ = 0;
    int64_t width_;  // of a packed row
    float* delta_;   // of all queries
    float *key_bias_, *key_, *key_t_, *value_t_, *dkey_, *dvalue_;
    float *query_, *dout_, *weights_, *dscores_;
};

}  // namespace

// (q[B,S,H*d], k[B,N,H*d], v[B,N,H*d], key_bias[B,N] f32?, o[B,S,H*d], lse[B,H,S] f32, do[B,S,H*d]) {heads, scale}
//   -> dq, dk, dv
// P loses accuracy where lse is so far from 0 that f32 cannot hold log N beside it: with every key of a row masked by
// -10000 its error is about 1e-3.
void op_attention_bwd(const KernelArgs& k) {
    AttentionShapes s(k);
#ifdef STEPD_ISA_amx
    if (attention_bwd_amx_applies(k)) return attention_bwd_amx(k, s);
#endif
    differentiate_attention<BlockPass>(k, s);
}

}  // namespace stepd::STEPD_ISA
