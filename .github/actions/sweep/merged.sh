#!/usr/bin/env bash
# Prints `run=ID`: the newest workflow run with results of the pull request that a push has merged, if there is one.
#
# Only pull requests of this repository's own branches count: what a fork measured is not taken over. Whatever goes
# wrong here costs measurements, not the job.
set -uo pipefail

ask() {
    curl --silent --show-error --fail --retry 3 --max-time 60 \
        -H "Authorization: Bearer $TOKEN" -H 'Accept: application/vnd.github+json' \
        "$GITHUB_API_URL/repos/$GITHUB_REPOSITORY/$1" | jq --raw-output --arg repository "$GITHUB_REPOSITORY" "$2"
}

branches=$(ask "commits/$GITHUB_SHA/pulls" \
    '.[] | select(.merged_at != null and .head.repo.full_name == $repository) | .head.ref | @uri')
for branch in $branches; do
    runs=$(ask "actions/runs?event=pull_request&per_page=30&branch=$branch" \
        '.workflow_runs[] | select(.head_repository.full_name == $repository) | .id')
    for run in $runs; do
        found=$(ask "actions/runs/$run/artifacts?per_page=100" \
            'any(.artifacts[]; (.name | startswith("sweep-results-")) and (.expired | not))')
        if [ "$found" = true ]; then
            echo "run=$run"
            exit 0
        fi
    done
done
echo 'no results of a merged pull request' >&2
exit 0
