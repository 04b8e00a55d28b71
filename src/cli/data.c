/* lockstep data import|inspect */
#include "cli/cli_int.h"

const lki_command lki_data_command = {.name = "data", .help = "Brings data into HDF5, and looks into it."};
