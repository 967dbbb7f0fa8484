// Typed reads from a component's config.json, with errors that name component, key and value. A key that is absent or
// null takes the fallback, which is the default of the reference library's class.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace stepd {

class ConfigReader {
public:
    static constexpr int64_t kLargestSize = int64_t{1} << 24;  // of any dimension: three of them fit in 64 bits

    ConfigReader(std::string component, const nlohmann::json& values);

    bool has(const std::string& key) const;
    // Throws Code::invalid when the key is missing, not a positive integer, or above `most`.
    int64_t required_size(const std::string& key, int64_t most = kLargestSize) const;
    int64_t size(const std::string& key, int64_t fallback, int64_t most = kLargestSize) const;
    double number(const std::string& key, double fallback) const;
    bool flag(const std::string& key, bool fallback) const;
    std::string text(const std::string& key, const std::string& fallback) const;
    std::vector<int64_t> sizes(const std::string& key, const std::vector<int64_t>& fallback,
                               int64_t most = kLargestSize) const;
    std::vector<std::string> texts(const std::string& key) const;  // empty when absent

    // Throws Code::unsupported when the key is present and has any other value.
    void only(const std::string& key, const nlohmann::json& supported) const;

private:
    [[noreturn]] void refuse(const std::string& key, const std::string& wanted) const;
    std::string component_;
    const nlohmann::json& values_;
};

}  // namespace stepd
