// attention_bwd on AMX tiles, see attention_bwd.cpp for the formulas. Here a vector lane is a query: S^T = k q^T and
// dP^T = v do^T come out as [key, query], so that P^T and dS^T round straight into the operands of dv, dk and dq^T.
#ifdef STEPD_ISA_amx

#include "backend/cpu/attention_bwd.h"

#include <cmath>

#include "backend/cpu/attention_amx.h"
#include "backend/cpu/attention_tile_block.h"
#include "backend/cpu/attention_tiles.h"

namespace stepd::STEPD_ISA {
namespace {

// Divides one allocation; the first walk, over a null pointer, measures it.
class Carver {
public:
    explicit Carver(void* memory) : memory_(static_cast<char*>(memory)) {}
    template <class T>
    T* take(int64_t count) {
        size_t at = used_;
        used_ += (size_t(count) * sizeof(T) + 63) / 64 * 64;
        return memory_ ? reinterpret_cast<T*>(memory_ + at) : nullptr;
    }
    size_t used() const { return used_; }

private:
    char* memory_;
    size_t used_ = 0;
};

class TilePass {
public:
    static constexpr int64_t kKeys = 128;
    static constexpr int64_t kQuerySteps = 8;  // panels of 32 queries whose P and dS are kept at once
    static constexpr int64_t kKeyPanels = kKeys / kStepRows;

    static int64_t floats(const AttentionShapes& s) {
        Carver measure(nullptr);
        Buffers(measure, s);
        return int64_t(measure.used() / sizeof(float));
    }
    static int64_t dq_floats(const AttentionShapes& s) {
        return steps_of(s.queries) * steps_of(s.width) * kBlockFloats;
    }

    TilePass(const KernelArgs& k, const AttentionShapes& s, float* memory)
        : k_(k), s_(s), depth_(steps_of(s.width)), query_panels_(steps_of(s.queries)), m_(carve(memory, s)) {}

    void start_head(int64_t b, int64_t h) {
        b_ = b;
        h_ = h;
        const bf16 *query = rows(kQ, 0), *dout = rows(kDo, 0);
        for (int64_t p = 0; p < query_panels_; p++) {
            int64_t left = s_.queries - p * kStepRows, from = p * kStepRows * s_.ld(), to = p * depth_ * kStepSize;
            pack_tile_panel(query + from, s_.ld(), true, true, left, s_.width, m_.query + to);
            pack_tile_panel(dout + from, s_.ld(), true, true, left, s_.width, m_.dout + to);
        }
        for (int64_t c = 0; c < depth_; c++) {
            int64_t left = s_.width - c * kStepRows, from = c * kStepRows, to = c * query_panels_ * kStepSize;
            pack_tile_panel(query + from, s_.ld(), false, true, left, s_.queries, m_.query_t + to);
            pack_tile_panel(dout + from, s_.ld(), false, true, left, s_.queries, m_.dout_t + to);
        }
        const float* lse = k_.in[kLse].f32() + (b * s_.heads + h) * s_.queries;
        std::copy(lse, lse + s_.queries, m_.lse);
        row_products(s_.rows(k_.in[kDo], b, h, 0), s_.rows(k_.in[kO], b, h, 0), s_.queries, m_.delta);
        std::fill(m_.lse + s_.queries, m_.lse + query_panels_ * kStepRows, 0.f);
        std::fill(m_.delta + s_.queries, m_.delta + query_panels_ * kStepRows, 0.f);
    }

    void key_block(int64_t first, float* dq, bool accumulate) {
        TileScope tiles;
        int64_t keys = std::min(kKeys, s_.keys - first), panels = steps_of(keys), ld = depth_ * kStepRows;
        pack_keys(first, keys);
        for (int64_t q = 0; q < query_panels_; q += kQuerySteps) {
            int64_t steps = std::min(kQuerySteps, query_panels_ - q);
            for (int64_t i = 0; i < steps; i++) query_panel(q, i, panels, dq, accumulate);
            for (int64_t p = 0; p < panels; p++) {
                for (int64_t c = 0; c < depth_; c++) {
                    int64_t column = (c * query_panels_ + q) * kStepSize, to = p * kStepRows * ld + c * kStepRows;
                    tile_block(m_.weights + p * kQuerySteps * kStepSize, m_.dout_t + column, steps, m_.dvalue + to, ld,
                               q > 0);
                    tile_block(m_.dscores + p * kQuerySteps * kStepSize, m_.query_t + column, steps, m_.dkey + to, ld,
                               q > 0);
                }
            }
        }
        unpack_rows(m_.dkey, ld, keys, s_.rows(k_.out[kDk], b_, h_, first));
        unpack_rows(m_.dvalue, ld, keys, s_.rows(k_.out[kDv], b_, h_, first));
    }

    void store_dq(const float* dq, int64_t b, int64_t h) const {
        for (int64_t p = 0; p < query_panels_; p++)
            unpack_transposed(dq + p * depth_ * kBlockFloats, kStepRows, nullptr,
                              std::min(kStepRows, s_.queries - p * kStepRows),
                              s_.rows(k_.out[kDq], b, h, p * kStepRows));
    }

private:
    struct Buffers {
        // Of one head. B panels of queries along channels, and of channels along queries.
        bf16 *query, *dout, *query_t, *dout_t;
        float *lse, *delta;
        // Of one block of keys. A panels of keys along channels, and of channels along keys.
        bf16 *key, *value, *key_t;
        float *key_bias, *dkey, *dvalue;
        // P^T and dS^T as A panels of keys along kQuerySteps of queries; dS^T of one panel of queries as a B panel.
        bf16 *weights, *dscores, *dscores_paired;
        float *raw_scores, *raw_dweights;  // [32 keys, 32 queries]

        Buffers(Carver& carver, const AttentionShapes& s) {
            int64_t depth = steps_of(s.width), queries = steps_of(s.queries);
            for (bf16** p : {&query, &dout, &query_t, &dout_t}) *p = carver.take<bf16>(queries * depth * kStepSize);
            for (float** p : {&lse, &delta}) *p = carver.take<float>(queries * kStepRows);
            for (bf16** p : {&key, &value, &key_t}) *p = carver.take<bf16>(kKeyPanels * depth * kStepSize);
            key_bias = carver.take<float>(kKeys);
            for (float** p : {&dkey, &dvalue}) *p = carver.take<float>(kKeys * depth * kStepRows);
            for (bf16** p : {&weights, &dscores}) *p = carver.take<bf16>(kKeyPanels * kQuerySteps * kStepSize);
            dscores_paired = carver.take<bf16>(kKeyPanels * kStepSize);
            for (float** p : {&raw_scores, &raw_dweights}) *p = carver.take<float>(kBlockFloats);
        }
    };
    static Buffers carve(float* memory, const AttentionShapes& s) {
        Carver carver(memory);
        return Buffers(carver, s);
    }

    const bf16* rows(AttentionBwdInput input, int64_t first) const {
        return k_.in[input].bf16() + s_.rows(k_.in[input], b_, h_, first).first;
    }

    void pack_keys(int64_t first, int64_t keys) {
        const bf16 *key = rows(kK, first), *value = rows(kV, first);
        for (int64_t p = 0; p < steps_of(keys); p++) {
            int64_t left = keys - p * kStepRows, from = p * kStepRows * s_.ld(), to = p * depth_ * kStepSize;
            pack_tile_panel(key + from, s_.ld(), true, false, left, s_.width, m_.key + to);
            pack_tile_panel(value + from, s_.ld(), true, false, left, s_.width, m_.value + to);
        }
        for (int64_t c = 0; c < depth_; c++)
            pack_tile_panel(key + c * kStepRows, s_.ld(), false, false, s_.width - c * kStepRows, keys,
                            m_.key_t + c * steps_of(keys) * kStepSize);
        // Keys past the end get no weight: their scores are 0, and e^-lse may be infinite.
        std::fill(m_.key_bias, m_.key_bias + keys, 0.f);
        std::fill(m_.key_bias + keys, m_.key_bias + kKeys, -INFINITY);
        if (const Tensor& bias = k_.in[kKeyBias]) std::copy_n(bias.f32() + b_ * s_.keys + first, keys, m_.key_bias);
    }

    // The packed keys against the panel of queries number chunk + step: P^T and dS^T, and their share of dq.
    void query_panel(int64_t chunk, int64_t step, int64_t panels, float* dq, bool accumulate_dq) {
        int64_t q = chunk + step;
        const bf16 *query = m_.query + q * depth_ * kStepSize, *dout = m_.dout + q * depth_ * kStepSize;
        for (int64_t p = 0; p < panels; p++) {
            tile_block(m_.key + p * depth_ * kStepSize, query, depth_, m_.raw_scores, kStepRows, false);
            tile_block(m_.value + p * depth_ * kStepSize, dout, depth_, m_.raw_dweights, kStepRows, false);
            int64_t to = (p * kQuerySteps + step) * kStepSize;
            differentiate_softmax(p, q, m_.weights + to, m_.dscores + to, m_.dscores_paired + p * kStepSize);
        }
        for (int64_t c = 0; c < depth_; c++)
            tile_block(m_.key_t + c * panels * kStepSize, m_.dscores_paired, panels,
                       dq + (q * depth_ + c) * kBlockFloats, kStepRows, accumulate_dq);
    }

    // 32 keys x 32 queries: raw scores and dP -> P and dS as steps of A panels, and dS as a step of a B panel.
    void differentiate_softmax(int64_t key_panel, int64_t query_panel, bf16* weights, bf16* dscores, bf16* paired) {
        const float *lse = m_.lse + query_panel * kStepRows, *delta = m_.delta + query_panel * kStepRows;
        const float* key_bias = m_.key_bias + key_panel * kStepRows;
        for (int64_t r = 0; r < kStepRows; r += 2) {
            Vec p[2][2], ds[2][2];  // [key][half of the queries]
            for (int64_t i = 0; i < 2; i++) {
                for (int64_t half = 0; half < 2; half++) {
                    int64_t at = (r + i) * kStepRows + half * W;
                    Vec score = fma(load(m_.raw_scores + at), set1(s_.scale), set1(key_bias[r + i]));
                    p[i][half] = rough_exp(score - load(lse + half * W));
                    Vec dp = load(m_.raw_dweights + at) - load(delta + half * W);
                    ds[i][half] = p[i][half] * dp * set1(s_.scale);
                }
                store_joined(weights + (r + i) * kStepDepth, p[i][0], p[i][1]);
                store_joined(dscores + (r + i) * kStepDepth, ds[i][0], ds[i][1]);
            }
            for (int64_t half = 0; half < 2; half++)
                store_paired(paired + half * kTileSize + r * W, ds[0][half], ds[1][half]);
        }
    }

    const KernelArgs& k_;
    const AttentionShapes& s_;
    int64_t b_ = 0, h_ = 0;
    int64_t depth_, query_panels_;  // panels of channels, which are also steps along them; panels of all queries
    Buffers m_;
};

}  // namespace

bool attention_bwd_amx_applies(const KernelArgs& k) {
    for (AttentionBwdInput i : {kQ, kK, kV, kDo})
        if (k.in[i].dtype != DType::bf16) return false;
    return true;
}

void attention_bwd_amx(const KernelArgs& k, const AttentionShapes& s) { differentiate_attention<TilePass>(k, s); }

}  // namespace stepd::STEPD_ISA

#endif
