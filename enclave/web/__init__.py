"""Where a fetch may lead: image URLs, and HTTP that goes to public places alone and in time."""
