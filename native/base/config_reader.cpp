#include "base/config_reader.h"

#include "base/error.h"

namespace stepd {

ConfigReader::ConfigReader(std::string component, const nlohmann::json& values)
    : component_(std::move(component)), values_(values) {
    STEPD_REQUIRE(values.is_object(), Code::invalid, component_, ": the configuration is not a JSON object");
}

bool ConfigReader::has(const std::string& key) const {
    auto it = values_.find(key);
    return it != values_.end() && !it->is_null();
}

void ConfigReader::refuse(const std::string& key, const std::string& wanted) const {
    STEPD_THROW(Code::invalid, component_, ": ", key, " is ", has(key) ? values_.at(key).dump() : "missing",
                ", must be ", wanted);
}

int64_t ConfigReader::required_size(const std::string& key, int64_t most) const {
    const std::string wanted = detail::concat("an integer from 1 to ", most);
    if (!has(key) || !values_.at(key).is_number_integer()) refuse(key, wanted);
    int64_t value = values_.at(key).get<int64_t>();
    if (value < 1 || value > most) refuse(key, wanted);
    return value;
}

int64_t ConfigReader::size(const std::string& key, int64_t fallback, int64_t most) const {
    return has(key) ? required_size(key, most) : fallback;
}

double ConfigReader::number(const std::string& key, double fallback) const {
    if (!has(key)) return fallback;
    if (!values_.at(key).is_number()) refuse(key, "a number");
    return values_.at(key).get<double>();
}

bool ConfigReader::flag(const std::string& key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!values_.at(key).is_boolean()) refuse(key, "true or false");
    return values_.at(key).get<bool>();
}

std::string ConfigReader::text(const std::string& key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    if (!values_.at(key).is_string()) refuse(key, "a string");
    return values_.at(key).get<std::string>();
}

std::vector<int64_t> ConfigReader::sizes(const std::string& key, const std::vector<int64_t>& fallback,
                                         int64_t most) const {
    if (!has(key)) return fallback;
    const std::string wanted = detail::concat("a list of integers from 1 to ", most);
    const nlohmann::json& list = values_.at(key);
    if (!list.is_array() || list.empty()) refuse(key, wanted);
    std::vector<int64_t> out;
    for (const nlohmann::json& element : list) {
        if (!element.is_number_integer()) refuse(key, wanted);
        out.push_back(element.get<int64_t>());
        if (out.back() < 1 || out.back() > most) refuse(key, wanted);
    }
    return out;
}

std::vector<std::string> ConfigReader::texts(const std::string& key) const {
    std::vector<std::string> out;
    if (!has(key)) return out;
    const nlohmann::json& list = values_.at(key);
    if (!list.is_array()) refuse(key, "a list of strings");
    for (const nlohmann::json& element : list) {
        if (!element.is_string()) refuse(key, "a list of strings");
        out.push_back(element.get<std::string>());
    }
    return out;
}

void ConfigReader::only(const std::string& key, const nlohmann::json& supported) const {
    STEPD_REQUIRE(!has(key) || values_.at(key) == supported, Code::unsupported, component_, ": ", key, " = ",
                  values_.at(key).dump(), " is not supported, only ", supported.dump());
}

}  // namespace stepd
