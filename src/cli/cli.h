/* The program: subcommands, their options, exit codes. Everything it does is behind lk_cli_main, so that main is one
 * line and other programs can carry it (include/lockstep.h). */
#ifndef LK_CLI_CLI_H
#define LK_CLI_CLI_H

/* Runs the command line argv[1..argc). Returns the exit code: 0 done; 1 failed; 2 wrong input, nothing was started; 75
 * stopped on request, with a good checkpoint. */
int lk_cli_main(int argc, char **argv);

#endif
