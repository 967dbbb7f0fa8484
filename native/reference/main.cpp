// Compares this build with reference data: stepd_reference DIR [--only SECTIONS], where SECTIONS are letters such as
// FI. The last line gives the totals. Exit status: 0 when nothing failed, 1 when something did, 2 for a wrong call.
#include <cstring>
#include <iostream>

#include "reference/reference.h"

int main(int argc, char** argv) {
    std::string folder, only;
    for (int i = 1; i < argc; i++) {
        if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (folder.empty() && argv[i][0] != '-') {
            folder = argv[i];
        } else {
            folder.clear();
            break;
        }
    }
    if (folder.empty()) {
        std::cerr << "usage: stepd_reference DIR [--only SECTIONS]\n";
        return 2;
    }
    try {
        return stepd::reference::run(folder, only).failed ? 1 : 0;
    } catch (const std::exception& error) {
        std::cerr << "stepd_reference: " << error.what() << "\n";
        return 2;
    }
}
