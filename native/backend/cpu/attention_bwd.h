// What the backward passes of attention share, whatever multiplies their blocks: the division into tickets, and dq.
#pragma once

#include <algorithm>

#include "backend/cpu/attention_shapes.h"
#include "backend/cpu/simd.h"

namespace stepd::STEPD_ISA {

// Inputs and outputs of attention_bwd.
enum AttentionBwdInput { kQ, kK, kV, kKeyBias, kO, kLse, kDo };
enum AttentionBwdOutput { kDq, kDk, kDv };

// With fewer heads than this, the keys of a head are divided as well. A constant: results must not depend on threads.
constexpr int64_t kEnoughTickets = 16;

// Runs the pass over all heads. A Pass works on one head at a time in blocks of Pass::kKeys keys; it has
//   static floats(s), dq_floats(s)      f32 of working memory and of dq of one head, multiples of 16
//   Pass(k, s, memory)
//   start_head(b, h)                    prepares what all blocks of keys need
//   key_block(first, dq, accumulate)    writes dk and dv of keys [first, first + kKeys), sets or adds to dq
//   store_dq(dq, b, h)
template <class Pass>
void differentiate_attention(const KernelArgs& k, const AttentionShapes& s) {
    int64_t all = s.batch * s.heads, key_blocks = (s.keys + Pass::kKeys - 1) / Pass::kKeys;
    int64_t parts = all >= kEnoughTickets ? 1 : std::min(key_blocks, (kEnoughTickets + all - 1) / all);
    // Thread 0 keeps dq of every part, then the working memory of all threads.
    int64_t dq_floats = Pass::dq_floats(s), own_dq = parts == 1 ? dq_floats : 0, shared = parts == 1 ? 0 : all * parts;
    int64_t work = Pass::floats(s) + own_dq;
    size_t bytes = size_t(shared * dq_floats + k.pool.threads() * work) * sizeof(float);
    auto* memory = static_cast<float*>(k.pool.scratch(0, bytes));
    k.pool.run(all * parts, [&](int64_t ticket, int thread) {
        int64_t head = ticket / parts, part = ticket % parts, b = head / s.heads, h = head % s.heads;
        float* own = memory + shared * dq_floats + thread * work;
        float* dq = parts == 1 ? own : memory + ticket * dq_floats;
        Pass pass(k, s, own + own_dq);
        pass.start_head(b, h);
        int64_t begin = key_blocks * part / parts, end = key_blocks * (part + 1) / parts;
        for (int64_t i = begin; i < end; i++) pass.key_block(i * Pass::kKeys, dq, i > begin);
        if (parts == 1) pass.store_dq(dq, b, h);
    });
    if (parts == 1) return;
    k.pool.run(all, [&](int64_t head, int thread) {
        float* dq = memory + head * parts * dq_floats;
        for (int64_t part = 1; part < parts; part++)
            for (int64_t i = 0; i < dq_floats; i += W) store(dq + i, load(dq + i) + load(dq + part * dq_floats + i));
        Pass(k, s, memory + shared * dq_floats + thread * work).store_dq(dq, head / s.heads, head % s.heads);
    });
}

}  // namespace stepd::STEPD_ISA
