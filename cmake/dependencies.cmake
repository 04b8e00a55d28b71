# What lockstep stands on; docs/dependencies.md says why each is here, scripts/packages.sh names the Debian packages.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
set(MPI_SKIP_MPICXX ON)
find_package(MPI REQUIRED COMPONENTS C)
pkg_check_modules(yaml REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(jansson REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(zlib REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(png REQUIRED IMPORTED_TARGET libpng)
pkg_check_modules(jpeg REQUIRED IMPORTED_TARGET libjpeg)

# HDF5: the serial build, whose pkg-config file Debian names hdf5-serial; plain names elsewhere.
pkg_search_module(hdf5 REQUIRED IMPORTED_TARGET hdf5-serial hdf5)
add_library(lk_hdf5 INTERFACE)
target_link_libraries(lk_hdf5 INTERFACE PkgConfig::hdf5)
add_library(lk::hdf5 ALIAS lk_hdf5)
