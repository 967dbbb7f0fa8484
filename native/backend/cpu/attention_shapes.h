// Arguments of the attention kernels.
#pragma once

#include "backend/backend.h"

namespace stepd::STEPD_ISA {

// Rows of one head: element (r, c) at data[first + r * ld + c], c < width.
struct HeadRows {
    const Tensor& tensor;
    int64_t first, ld, width;
};

struct AttentionShapes {
    int64_t batch, queries, keys, heads, width;  // width: channels of one head
    float scale;

    explicit AttentionShapes(const KernelArgs& k)
        : batch(k.in[0].dim(0)),
          queries(k.in[0].dim(1)),
          keys(k.in[1].dim(1)),
          heads(int64_t(k.attr("heads"))),
          width(k.in[0].dim(2) / heads),
          scale(float(k.attr("scale"))) {}

    int64_t ld() const { return heads * width; }
    // Head h of rows first .. of sample b of a tensor [B, rows, heads * width].
    HeadRows rows(const Tensor& t, int64_t b, int64_t h, int64_t first) const {
        return {t, (b * t.dim(1) + first) * ld() + h * width, ld(), width};
    }
};

}  // namespace stepd::STEPD_ISA
