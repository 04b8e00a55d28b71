/* A program that trains through the public API: api CONFIG RUN_DIR [wrong]. Prints the digest on rank 0. */
#include <lockstep.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int complain(const char *what, lockstep_status st)
{
    fprintf(stderr, "api: %s gives %d: %s\n", what, (int)st, lockstep_error());
    return 1;
}

int main(int argc, char **argv)
{
    const char *const set[] = {"train.epochs=1"}, *const wrong[] = {"train.epocs=1"};
    lockstep_options o = {.size = sizeof o, .quiet = 1};
    lockstep_run *run = NULL, *second = NULL;
    lockstep_result result, again;
    lockstep_status st;

    if (argc < 3 || strchr(lockstep_version(), '.') == NULL || lockstep_error()[0] != 0)
        return complain("the beginning", LOCKSTEP_OK);
    o.run_dir = argv[2];
    st = lockstep_run_open(argv[1], wrong, 1, &o, &run);
    if (st != LOCKSTEP_INPUT || run != NULL || strstr(lockstep_error(), "epochs") == NULL)
        return complain("a wrong key", st);
    st = lockstep_run_open(argv[1], set, 1, &o, &run);
    if (st != LOCKSTEP_OK)
        return complain("open", st);
    if (strcmp(lockstep_run_dir(run), argv[2]) != 0)
        return complain("run_dir", st);
    st = lockstep_run_open(argv[1], set, 1, &o, &second);
    if (st != LOCKSTEP_INPUT || second != NULL)
        return complain("a second run", st);
    st = lockstep_run_result(run, &again);
    if (st != LOCKSTEP_FAILED)
        return complain("a result before", st);
    st = lockstep_run_train(run, &result);
    if (st != LOCKSTEP_OK || lockstep_error()[0] != 0)
        return complain("train", st);
    st = lockstep_run_train(run, NULL);
    if (st != LOCKSTEP_INPUT)
        return complain("train again", st);
    st = lockstep_run_result(run, &again);
    if (st != LOCKSTEP_OK || memcmp(again.digest, result.digest, sizeof again.digest) != 0 || again.step != result.step)
        return complain("result", st);
    lockstep_run_close(&run);
    lockstep_run_close(&run);

    /* A later run of the same process goes on from the first one's checkpoint. */
    st = lockstep_run_open(argv[1], NULL, 0, &o, &run);
    if (st != LOCKSTEP_OK)
        return complain("open again", st);
    st = lockstep_run_train(run, &again);
    if (st != LOCKSTEP_OK || again.step != 2 * result.step)
        return complain("go on", st);
    lockstep_run_close(&run);
    lockstep_finish();
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (rank == NULL || strcmp(rank, "0") == 0)
        puts(again.digest);
    return 0;
}
