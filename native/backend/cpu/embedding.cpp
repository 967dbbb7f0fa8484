// Lookup of token embeddings.
#include "backend/cpu/axis_copy.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (ids[..] i32, table[V,D]) -> [..,D]. An id outside the table is Code::invalid.
void op_embedding(const KernelArgs& k) {
    const Tensor &ids = k.in[0], &table = k.in[1];
    int64_t width = table.dim(-1);
    for (int64_t i = 0; i < ids.numel(); i++) {
        int32_t id = ids.i32()[i];
        STEPD_REQUIRE(id >= 0 && id < table.dim(0), Code::invalid, "embedding: token id ", id, " at position ", i,
                      " is outside the table of ", table.dim(0), " rows; does the tokenizer belong to this model?");
        copy_elements(k.out[0], i * width, table, id * width, width);
    }
}

}  // namespace stepd::STEPD_ISA
