"""TIFF stacks among the samples of any layout: a sample for each page, where image and mask have as many."""

from trainer.data.layouts.base import Found
from trainer.data.sample import PageSample, Sample
from trainer.data.stack import SUFFIXES, count_pages
from trainer.system.text import count_of


def split_stacks(found: Found) -> None:
    """Replace each sample of two stacks of equally many pages by one for each page: `volume#3`.

    Of other stacks the first page is used, which a note says.
    """
    samples: list[Sample] = []
    shortened: list[str] = []
    for sample in found.samples:
        if not (sample.image_file.lower().endswith(SUFFIXES) or sample.mask_file.lower().endswith(SUFFIXES)):
            samples.append(sample)
            continue
        pages, others = zip(*map(count_pages, sample.files), strict=True)
        counted = list(zip(sample.files, pages, others, strict=True))
        shortened += [f"{file} ({count_of(more, 'page')} of another size)" for file, _, more in counted if more]
        found.unused_pages |= {file: more for file, _, more in counted if more}
        if max(pages) == 1:
            samples.append(sample)
        elif type(sample) is Sample and pages[0] == pages[1]:
            numbers = range(1, pages[0] + 1)
            names = [f"{sample.name}#{number}" for number in numbers]
            files = sample.image_file, sample.mask_file
            samples += [PageSample(name, *files, number) for name, number in zip(names, numbers, strict=True)]
            if sample.name in found.parts:
                found.parts |= dict.fromkeys(names, found.parts.pop(sample.name))
        else:
            samples.append(sample)
            shortened += [f"{file} ({count} pages)" for file, count, _ in counted if count > 1]
            found.unused_pages |= {file: count - 1 + more for file, count, more in counted if count - 1 + more}
    found.samples = samples
    if shortened:
        found.notes.append(
            f"{shortened[0]}{f' and {len(shortened) - 1} more' if len(shortened) > 1 else ''}: a sample needs as many "
            "pages in image and mask, all of one size; the others are left out"
        )
