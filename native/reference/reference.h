// Checks against reference data made with PyTorch, diffusers and Pillow: a folder with manifest.json, whose cases name
// their files. A section is one function in its own file and one line in sections.inc. Used by the stepd_reference
// program on any such folder, and by the unit tests on the small copy in native/tests/testdata.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace stepd::reference {

struct Result {
    int passed = 0;
    int failed = 0;
    int skipped = 0;

    Result& operator+=(const Result& other) {
        passed += other.passed;
        failed += other.failed;
        skipped += other.skipped;
        return *this;
    }
};

// Collects the largest error of one check over many arrays, and the array that has it.
class Worst {
public:
    // NaN counts as larger than everything.
    void add(double error, const std::string& where) {
        count_++;
        if (count_ > 1 && error <= error_) return;
        error_ = error;
        where_ = where;
    }
    int count() const { return count_; }
    double error() const { return error_; }
    const std::string& where() const { return where_; }

private:
    int count_ = 0;
    double error_ = 0;
    std::string where_;
};

// Each prints one line, "PASS name: ..", "FAIL name: .." or "SKIP name: ..", and returns what it counts as.
// A check of no arrays fails: it would prove nothing.
Result report(const std::string& name, const Worst& worst, double tolerance);
Result report_failure(const std::string& name, const std::string& reason);
Result report_skip(const std::string& name, const std::string& reason);

// Checks one case of the manifest; `folder` is the folder of manifest.json. May throw: the caller reports the message.
using Section = Result (*)(const std::string& folder, const nlohmann::json& entry);

// The path of the case's file whose name (without folders) is `file_name`; empty when the case has none.
std::string find_file(const std::string& folder, const nlohmann::json& entry, const std::string& file_name);
nlohmann::json read_json(const std::string& path);

// Runs the cases of `folder` whose section letter is in `only` (all when empty) and prints the totals as the last line,
// "N passed, N failed, N skipped". Cases of sections that this program does not know are skipped.
Result run(const std::string& folder, const std::string& only);

#define STEPD_REFERENCE_SECTION(letter, function) \
    Result function(const std::string& folder, const nlohmann::json& entry);
#include "reference/sections.inc"
#undef STEPD_REFERENCE_SECTION

}  // namespace stepd::reference
