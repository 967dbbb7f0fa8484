#pragma once

namespace stepd::api {
inline constexpr const char* kVersion = "0.1.0";
}
