#include "reference/reference.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace stepd::reference {
namespace {

std::string with_place(const std::string& message, const Worst& worst) {
    return worst.where().empty() ? message : message + " at " + worst.where();
}

}  // namespace

Result report(const std::string& name, const Worst& worst, double tolerance) {
    if (worst.count() == 0) return report_failure(name, "the case has no data for this check");
    std::string text =
        detail::concat("worst error ", worst.error(), ", tolerance ", tolerance, ", ", worst.count(), " arrays");
    if (!(worst.error() <= tolerance)) return report_failure(name, with_place(text, worst));
    std::cout << "PASS " << name << ": " << text << "\n";
    return {1, 0, 0};
}

Result report_failure(const std::string& name, const std::string& reason) {
    std::cout << "FAIL " << name << ": " << reason << "\n";
    return {0, 1, 0};
}

Result report_skip(const std::string& name, const std::string& reason) {
    std::cout << "SKIP " << name << ": " << reason << "\n";
    return {0, 0, 1};
}

std::string find_file(const std::string& folder, const nlohmann::json& entry, const std::string& file_name) {
    for (const std::string file : entry.at("files")) {
        std::filesystem::path path = std::filesystem::path(folder) / file;
        if (path.filename() == file_name) return path.string();
    }
    return "";
}

nlohmann::json read_json(const std::string& path) {
    std::ifstream file(path);
    STEPD_REQUIRE(file, Code::not_found, "cannot open ", path);
    nlohmann::json value = nlohmann::json::parse(file, nullptr, false);
    STEPD_REQUIRE(!value.is_discarded(), Code::invalid, path, " is not JSON");
    return value;
}

Result run(const std::string& folder, const std::string& only) {
    static const std::map<char, Section> sections = {
#define STEPD_REFERENCE_SECTION(letter, function) {letter, function},
#include "reference/sections.inc"
#undef STEPD_REFERENCE_SECTION
    };
    Result total;
    nlohmann::json manifest = read_json((std::filesystem::path(folder) / "manifest.json").string());
    for (const nlohmann::json& entry : manifest.at("cases")) {
        std::string name = entry.at("name");
        if (name.empty() || (!only.empty() && only.find(name[0]) == only.npos)) continue;
        auto section = sections.find(name[0]);
        if (section == sections.end()) {
            total += report_skip(name, "no check for this section");
            continue;
        }
        try {
            total += section->second(folder, entry);
        } catch (const std::exception& error) {
            total += report_failure(name, error.what());
        }
        std::cout << std::flush;
    }
    std::cout << total.passed << " passed, " << total.failed << " failed, " << total.skipped << " skipped\n"
              << std::flush;
    return total;
}

}  // namespace stepd::reference
