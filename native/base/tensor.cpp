#include "base/tensor.h"

namespace stepd {

std::string to_string(const Shape& s) {
    std::string out = "[";
    for (size_t i = 0; i < s.size(); i++) out += (i ? ", " : "") + std::to_string(s[i]);
    return out + "]";
}

}  // namespace stepd
