// T5 version 1.1 encoder (transformers' T5EncoderModel).
#pragma once

#include "models/family.h"

namespace stepd {

std::unique_ptr<TextEncoder> make_t5(const nlohmann::json& config);

}  // namespace stepd
