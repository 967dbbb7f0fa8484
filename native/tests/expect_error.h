// Expectations on errors: which code, and what the message names.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace stepd {

// The message of the stepd::Error that `action` throws; fails the test when there is none or its code is another.
template <class Action>
std::string message_of(Code code, const Action& action) {
    try {
        action();
    } catch (const Error& e) {
        EXPECT_EQ(int(e.code()), int(code)) << e.what();
        return e.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
}

inline void expect_contains(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
}

}  // namespace stepd
